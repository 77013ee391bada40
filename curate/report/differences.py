"""Two texts side by side, with the words that are in one of them only."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

Part = tuple[str, bool]  # some text, and whether it differs from the other side
# Words and signs, each with the space after it; every character of scripts without spaces is a word.
WORDS = re.compile(r"(?:[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s])\s*|\s+")
MOST_WORDS = 400  # of a text that are compared: the time grows with their square
LEAST_COMMON = 0.5  # of the words; below, nearly everything would be marked
CONTEXT = 200  # characters before the first difference, where the texts are cut
Span = tuple[int, int]


def differences(one: str, two: str, most: int) -> tuple[list[Part], list[Part]]:
    """
    Return both texts in parts, those that differ marked; nothing is marked where the texts have little in common.

    At most `most` characters of each are returned: from the start, or from shortly before the first difference. Only
    words are compared, not the spaces between them.

        differences("red tea", "tea", 100)  # [("red", True), (" tea", False)], [("tea", False)]
    """
    start = _same_start(one, two)
    skipped = start - min(CONTEXT, most // 2) if start > most // 2 and one != two else 0
    cut = [_cut(text, skipped, most) for text in (one, two)]
    words = [WORDS.findall(text)[:MOST_WORDS] for _, text, _ in cut]
    spans = _spans(*([word.strip() for word in of_text] for of_text in words))
    parts = [list(_parts(mine, text, span)) for mine, (_, text, _), span in zip(words, cut, spans, strict=True)]
    for found, (before, _, after) in zip(parts, cut, strict=True):
        found[:] = [part for part in ((before, False), *found, (after, False)) if part[0]]
    return parts[0], parts[1]


def _spans(one: Sequence[str], two: Sequence[str]) -> tuple[list[Span], list[Span]]:
    """Return the words of each text that are not in the other one."""
    least = min(len(one), len(two))
    first = next((place for place in range(least) if one[place] != two[place]), least)
    last = next((place for place in range(least - first) if one[-1 - place] != two[-1 - place]), least - first)
    same = first + last
    matcher = SequenceMatcher(None, one[first : len(one) - last], two[first : len(two) - last], autojunk=False)
    total = len(one) + len(two)

    def too_different(ratio: float) -> bool:
        return 2 * same + ratio * (total - 2 * same) < LEAST_COMMON * total

    if too_different(matcher.quick_ratio()) or too_different(matcher.ratio()):
        return [], []
    changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
    return (
        [(first + start, first + stop) for _, start, stop, _, _ in changes if stop > start],
        [(first + start, first + stop) for _, _, _, start, stop in changes if stop > start],
    )


def _same_start(one: str, two: str) -> int:
    """Return how many characters two texts have in common at their start."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _cut(text: str, skipped: int, most: int) -> tuple[str, str, str]:
    """Return a note on what is left out before, the text, and a note on what is left out after."""
    left = len(text) - skipped - most
    before = f"… ({skipped:,} characters, the same in both) " if skipped else ""
    return before, text[skipped : skipped + most], f" … ({left:,} more characters)" if left > 0 else ""


def _parts(words: Sequence[str], text: str, spans: Sequence[Span]) -> Iterator[Part]:
    ends = [0, *accumulate(len(word) for word in words)]
    place = 0
    for start, stop in spans:
        changed = text[ends[start] : ends[stop]]
        end = ends[start] + len(changed.rstrip() or changed)  # the space after it is not marked
        yield text[place : ends[start]], False
        yield text[ends[start] : end], True
        place = end
    yield text[place:], False
