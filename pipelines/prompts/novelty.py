"""Novelty filter for prompts: neither equal nor too similar to an earlier one."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from math import floor

# Scripts without spaces: Thai, Lao, Myanmar, Khmer, kana, Han. By blocks, as `re` has no \p{Han} (see
# `curate.text.scripts`): unlike the script, the kana block includes the long vowel mark ー.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)
WORDS, CHARS = 3, 5  # of an n-gram


class Novelty:
    """
    The texts seen so far. Two texts are equal if they differ only in case, spacing and punctuation, and too similar if
    the Jaccard similarity of their n-grams exceeds `max_similarity`: word 3-grams, or character 5-grams for scripts
    without spaces. A text shorter than an n-gram is one n-gram.
    """

    def __init__(self, max_similarity: float, known: Iterable[str] = ()) -> None:
        self._max_similarity = max_similarity
        self._plain: set[str] = set()
        self._grams: list[frozenset[str]] = []
        self._index: defaultdict[str, list[int]] = defaultdict(list)  # inverted index: positions in `_grams`
        for text in known:
            self._remember(plain(text))

    def add(self, text: str) -> bool:
        """Add a text and return True if it is new; otherwise return False."""
        words = plain(text)
        if words in self._plain or self._similar(grams(words)):
            return False
        self._remember(words)
        return True

    def _remember(self, words: str) -> None:
        if words in self._plain:
            return
        self._plain.add(words)
        mine = grams(words)
        for gram in mine:
            self._index[gram].append(len(self._grams))
        self._grams.append(mine)

    def _similar(self, mine: frozenset[str]) -> bool:
        # Prefix filter: a text with Jaccard > t contains at least one of any k = len - ⌊t·len⌋ of these n-grams, so
        # the rarest k are probed.
        probes = len(mine) - floor(self._max_similarity * len(mine))
        rarest = sorted(mine, key=lambda gram: (len(self._index.get(gram, ())), gram))[:probes]
        for place in {place for gram in rarest for place in self._index.get(gram, ())}:
            shared = len(mine & self._grams[place])
            if shared > self._max_similarity * (len(mine) + len(self._grams[place]) - shared):
                return True
        return False


class _Spaced(dict[int, int | str]):
    """A table for `str.translate` that keeps letters, digits and marks, and maps everything else to a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LNM" else " "
        return self[code]


SPACED = _Spaced()


def plain(text: str) -> str:
    """Normalize to lower-case words with single spaces; a text without words (only symbols) is stripped only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(SPACED).split()) or text.strip()


def grams(words: str) -> frozenset[str]:
    """Return the n-grams of a normalized text, at least one."""
    joined = words.replace(" ", "")
    if 2 * len(UNSPACED.findall(joined)) > len(joined):
        return frozenset(joined[i : i + CHARS] for i in range(max(1, len(joined) - CHARS + 1)))
    parts = words.split(" ")
    return frozenset(" ".join(parts[i : i + WORDS]) for i in range(max(1, len(parts) - WORDS + 1)))
