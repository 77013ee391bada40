"""The rule of `curate.contamination.ngram.hits` in plain Python: strings, dicts and sets, no hashes of ours."""

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby

UNSPACED = (
    "CJK UNIFIED",
    "CJK COMPATIBILITY IDEOGRAPH",
    "HIRAGANA",
    "KATAKANA LETTER",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
)
ASCII_WORD = re.compile("[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """Return runs of letters, marks and digits, in NFKC and lower case; in scripts without spaces, characters."""
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    no_word, word = patterns()
    folded = unicodedata.normalize("NFKC", no_word.sub(" ", text)).lower()
    return word.findall(no_word.sub(" ", folded))


@cache
def patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return patterns of non-ASCII characters that are part of no word, and of a word."""
    beyond = map(chr, range(128, sys.maxunicode + 1))
    marks = {*map(chr, range(0xFE00, 0xFE10)), "\u20e3"}  # turn characters into emoji
    letters = [c for c in beyond if unicodedata.category(c)[0] in "LMN" and c not in marks]
    unspaced = {c for c in letters if unicodedata.name(c, "").startswith(UNSPACED)}
    spaced = ranges(c for c in letters if c not in unspaced)
    alone = ranges(sorted(unspaced))
    return re.compile(f"[^{spaced}{alone}\\x00-\\x7f]"), re.compile(f"[{alone}]|[a-z0-9{spaced}]+")


def ranges(characters: Iterable[str]) -> str:
    """Return ascending characters as the inside of a character class."""
    runs = groupby(enumerate(map(ord, characters)), lambda at: at[1] - at[0])
    spans = [[number for _, number in run] for _, run in runs]
    return "".join(f"\\U{span[0]:08x}-\\U{span[-1]:08x}" for span in spans)


class PlainIndex:
    """Items by their n-grams, and short ones by all of their words."""

    def __init__(self, items: Iterable[str], ngram: int = 8) -> None:
        self.ngram = ngram
        self.lengths: list[int] = []
        self.where: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        self.short: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for item, text in enumerate(items):
            words = words_of(text)
            self.lengths.append(len(words))
            if len(words) < ngram:
                self.short[tuple(words)].append(item)
            for place in range(len(words) - ngram + 1):
                self.where[tuple(words[place : place + ngram])].append((item, place))

    def hits(self, rows: Iterable[Sequence[str]], threshold: float = 0.5) -> Iterator[tuple[int, int, float]]:
        """Yield (row, item, overlap) in no order; a row is a list of texts."""
        for row, texts in enumerate(rows):
            covered: dict[int, set[int]] = defaultdict(set)
            for text in texts:
                words = words_of(text)
                for start in range(len(words) - self.ngram + 1):
                    for item, place in self.where.get(tuple(words[start : start + self.ngram]), ()):
                        covered[item].update(range(place, place + self.ngram))
                if 0 < len(words) < self.ngram:
                    for item in self.short.get(tuple(words), ()):
                        covered[item].update(range(self.lengths[item]))
            for item, places in covered.items():
                overlap = len(places) / self.lengths[item]
                if overlap > threshold:
                    yield row, item, overlap
