"""
Texts with planted edits, and a reference implementation of their similarity that processes one character, one set, one
pair at a time. It shares no code with `curate.dedup`, and defines words independently.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from scipy.sparse import csr_array, triu

from curate.dedup.clusters import components

UNSPACED = "CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"
SEVERAL_FORMS = ("\u1100", "\u11ff"), ("\ufb00", "\ufdff"), ("\ufe70", "\ufefe"), ("\uff01", "\uffee"), ("𝐀", "𝟿")
SIGNS = "+-*/^%<>="
BETWEEN = r"[^a-z0-9+\-*/^%<>=\x80-\U0010ffff]"  # an ASCII character that is neither word nor sign


def plain_words(text: str) -> list[str]:
    """Return the words of a text, character by character; a text without words is one word unless it is blank."""
    if any(unicodedata.category(c) == "Mn" or low <= c <= high for c in text for low, high in SEVERAL_FORMS):
        text = unicodedata.normalize("NFKC", text)
    usual = "".join(c for c in text.lower() if unicodedata.category(c) not in ("Cf", "Me") and c != "\ufe0f")
    usual = usual.translate({ord("−"): "-", ord("×"): "*", ord("÷"): "/"})
    plain = "".join(c if c < "\x80" or unicodedata.category(c)[0] in "LMN" else " " * len(c.encode()) for c in usual)
    words, word = [], ""
    for place, char in enumerate(plain):
        unspaced = unicodedata.name(char, "").startswith(UNSPACED)
        sign = char in SIGNS and re.search(rf"[0-9]{BETWEEN}{{0,3}}$", plain[max(place - 4, 0) : place])
        sign = sign and re.match(rf"{BETWEEN}{{0,3}}[0-9]", plain[place + 1 : place + 5])
        if not unspaced and (char.isalnum() or char > "\x7f"):
            word += char
            continue
        words += [part for part in (word, char if unspaced else f"sign {char}" if sign else "") if part]
        word = ""
    words += [word] if word else []
    return words or ([usual] if usual.strip() else [])


def plain_shingles(text: str, size: int = 3) -> set[tuple[str, ...]]:
    """Return the set of shingles of a text."""
    words = plain_words(text)
    return {tuple(words[at : at + size]) for at in range(max(len(words) - size + 1, min(len(words), 1)))}


def exact_pairs(texts: Sequence[str], threshold: float, size: int = 3) -> dict[tuple[int, int], float]:
    """Return every pair (a < b) with a similarity of at least `threshold`, by counting the shared shingles of all."""
    vocabulary: dict[tuple[str, ...], int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        found = plain_shingles(text, size)
        rows += [row] * len(found)
        columns += [vocabulary.setdefault(shingle, len(vocabulary)) for shingle in found]
    matrix = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(texts), len(vocabulary) or 1))
    sizes = matrix.sum(axis=1)
    shared = triu(matrix @ matrix.T, k=1).tocoo()
    similarity = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    similar = similarity >= threshold
    pairs = zip(shared.row[similar].tolist(), shared.col[similar].tolist(), strict=True)
    return dict(zip(pairs, similarity[similar].tolist(), strict=True))


def _spaces(text: str, chance: random.Random) -> str:
    return "".join(f"{c}{' ' * chance.randint(0, 2)}" if c == " " else c for c in f" {text}\n")


def _punctuation(text: str, chance: random.Random) -> str:
    return re.sub(r"(?<![0-9 ])[.,!?;:](?![0-9 ]?[0-9])", lambda _: chance.choice(["", ".", "!", ";", " …"]), text)


def _swapped(text: str, chance: random.Random) -> str:
    sentences = text.split(". ")
    if len(sentences) > 1:
        at = chance.randrange(len(sentences) - 1)
        sentences[at : at + 2] = sentences[at + 1], sentences[at]
    return ". ".join(sentences)


def _reworded(share: float) -> Callable[[str, random.Random], str]:
    def edit(text: str, chance: random.Random) -> str:
        words = text.split(" ")
        for at in chance.sample(range(len(words)), max(1, round(share * len(words)))):
            words[at] = f"other{chance.randrange(1000)}"
        return " ".join(words)

    return edit


EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "case": lambda text, chance: text.upper() if chance.random() < 0.5 else text.swapcase(),
    "spaces": _spaces,
    "punctuation": _punctuation,
    "sentences swapped": _swapped,
    "2 % of the words": _reworded(0.02),
    "5 % of the words": _reworded(0.05),
}


def planted(originals: Sequence[str], seed: int) -> pl.DataFrame:
    """
    Plant one edit after each text, with the kinds in turn.

    out: text, origin (the index of the original text), kind (an edit, or "original")
    """
    chance = random.Random(seed)
    rows: list[tuple[str, int, str]] = []
    for place, text in enumerate(originals):
        kind = list(EDITS)[place % len(EDITS)]
        rows += [(text, place, "original"), (EDITS[kind](text, chance), place, kind)]
    return pl.DataFrame(rows, schema=["text", "origin", "kind"], orient="row")


def compare(texts: pl.DataFrame, edges: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """
    Compare the edges with those of the exact comparison.

    in : text, origin, kind; row_a, row_b, similarity
    out: kind ("all", an edit, "other" for pairs that were not planted), similar (pairs that exact comparison finds),
         found, clustered (found, or in one cluster), precision (share of the kind's edges that are correct). Among
         texts of the same words every pair counts as found when all have an edge to one of them.
    """
    exact = exact_pairs(texts.get_column("text").to_list(), threshold)
    names = {"kind": texts.get_column("kind"), "origin": texts.get_column("origin")}
    links = {(a, b): value for a, b, value in edges.rows()}
    first = {b: a for (a, b), value in links.items() if value == 1}
    cluster = components(len(texts), edges).tolist()
    rows = []
    for a, b in exact.keys() | links.keys():
        kind = names["kind"][b] if names["origin"][a] == names["origin"][b] else "other"
        right = (a, b) in exact and abs(links.get((a, b), exact[a, b]) - exact[a, b]) < 1e-9
        found = (a, b) in links or (a in first and first[a] == first.get(b))
        rows.append(
            (kind, (a, b) in exact, (a, b) in exact and found, cluster[a] == cluster[b], (a, b) in links, right)
        )
    pairs = pl.DataFrame(rows, schema=["kind", "similar", "found", "clustered", "linked", "right"], orient="row")
    counted = [
        pl.col("similar").sum(),
        pl.col("found").sum(),
        (pl.col("clustered") & pl.col("similar")).sum(),
        pl.col("right").filter("linked").mean().alias("precision"),
    ]
    whole = pairs.select(pl.lit("all").alias("kind"), *counted)
    return pl.concat([whole, pairs.group_by("kind").agg(counted).sort("kind")])
