"""Which prompts say something new: neither the same as, nor too similar to, one that is there already."""

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
    Texts seen so far. Two are the same when they differ in case, spacing and punctuation only, and too similar when
    they share more than `max_similarity` of their n-grams (Jaccard): 3-grams of words, 5-grams of characters where the
    script writes no spaces. Texts too short for an n-gram count as one.
    """

    def __init__(self, max_similarity: float, known: Iterable[str] = ()) -> None:
        self._max_similarity = max_similarity
        self._plain: set[str] = set()
        self._grams: list[frozenset[str]] = []
        self._having: defaultdict[str, list[int]] = defaultdict(list)  # places in `_grams` by n-gram
        for text in known:
            self._remember(plain(text))

    def add(self, text: str) -> bool:
        """Whether the text is new; if so, it is remembered."""
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
            self._having[gram].append(len(self._grams))
        self._grams.append(mine)

    def _similar(self, mine: frozenset[str]) -> bool:
        # Who shares more than t of the n-grams lacks fewer than 1 - t of mine, so he has one of any choice of that
        # many: the rarest are looked up, and few others have them.
        probes = len(mine) - floor(self._max_similarity * len(mine))
        rarest = sorted(mine, key=lambda gram: (len(self._having.get(gram, ())), gram))[:probes]
        for place in {place for gram in rarest for place in self._having.get(gram, ())}:
            shared = len(mine & self._grams[place])
            if shared > self._max_similarity * (len(mine) + len(self._grams[place]) - shared):
                return True
        return False


class _Spaced(dict[int, int | str]):
    """A table for `str.translate`: letters, digits and their marks stay, everything else is a space."""

    def __missing__(self, code: int) -> int | str:
        self[code] = code if unicodedata.category(chr(code))[0] in "LNM" else " "
        return self[code]


SPACED = _Spaced()


def plain(text: str) -> str:
    """Lower-case words between single spaces; a text without any (only signs) as it is."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(SPACED).split()) or text.strip()


def grams(words: str) -> frozenset[str]:
    """The n-grams of a plain text, at least one."""
    joined = words.replace(" ", "")
    if 2 * len(UNSPACED.findall(joined)) > len(joined):
        return frozenset(joined[i : i + CHARS] for i in range(max(1, len(joined) - CHARS + 1)))
    parts = words.split(" ")
    return frozenset(" ".join(parts[i : i + WORDS]) for i in range(max(1, len(parts) - WORDS + 1)))
