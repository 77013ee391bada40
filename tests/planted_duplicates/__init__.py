"""
Planted duplicates: edits by a program, and paraphrases, translations and lookalikes written by hand.

The three text files alternate two lines and a blank one: a prompt and its handwritten counterpart. Lookalikes share
nearly all of their words but ask something else: calling them duplicates is an error.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from curate.contamination.eval_set import EvalSet
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import hits
from curate.dedup.clusters import components
from curate.dedup.near_edges import near_edges
from curate.engine import sliced
from tests.dedup.edits import EDITS

FOLDER = Path(__file__).parent
JOINED = 8  # prompts in one longer text
SENTENCE = re.compile(r"(?<=[.!?])\s+")
LOOKALIKE = "lookalikes (errors)"
Edit = Callable[[str, random.Random], str]
Method = Callable[[pl.Series], np.ndarray]  # texts -> a cluster each


def by_hand(name: str) -> list[tuple[str, str]]:
    """Return the pairs of a file: paraphrases, translations or lookalikes."""
    blocks = (FOLDER / f"{name}.txt").read_text("utf-8").strip().split("\n\n")
    return [(one, other) for one, other in (block.split("\n") for block in blocks)]


def longer_texts() -> list[str]:
    """Return texts of several handwritten prompts each, for edits that need longer texts."""
    prompts = list(dict.fromkeys(text for pair in by_hand("paraphrases") for text in pair))
    return [" ".join(prompts[at : at + JOINED]) for at in range(0, len(prompts) - JOINED + 1, JOINED)]


def _punctuation(text: str, chance: random.Random) -> str:
    """Exchange, drop and add punctuation, except beside a digit, where it may carry meaning."""
    return re.sub(r"(?<![\d\s])[.,!?;:](?=\s|$)", lambda _: chance.choice(["", ".", "!", ";", " …"]), f"«{text}»")


def _swapped(text: str, chance: random.Random) -> str:
    """Swap two neighbouring sentences."""
    sentences = SENTENCE.split(text)
    at = chance.randrange(max(len(sentences) - 1, 1))
    sentences[at : at + 2] = sentences[at : at + 2][::-1]
    return " ".join(sentences)


PROGRAMMED: dict[str, Edit] = {
    "exact copies": lambda text, _: text,
    "case": EDITS["case"],
    "spaces": EDITS["spaces"],
    "punctuation": _punctuation,
    "sentences swapped": _swapped,
    "5 % of the words": EDITS["5 % of the words"],
}
SAME_WORDS = ("exact copies", "case", "spaces", "punctuation")


def planted(base: Sequence[str], around: Sequence[str], seed: int = 0) -> pl.DataFrame:
    """
    in : texts, of several sentences each; other texts, among which eval items are hidden
    out: text, origin (the text it was made from; its own for a lookalike), kind ("original", or the edit)

    The hidden items are between two of the other texts, unchanged or with every twentieth word edited.
    """
    chance = random.Random(seed)
    rows = [(edit(text, chance), text, kind) for kind, edit in PROGRAMMED.items() for text in base]
    for kind in ("paraphrases", "translations"):
        rows += [(other, one, f"{kind} by hand") for one, other in by_hand(kind)]
    rows += [(other, other, LOOKALIKE) for _, other in by_hand("lookalikes")]
    originals = dict.fromkeys([*base, *(one for name in ("paraphrases", "translations") for one, _ in by_hand(name))])
    originals |= dict.fromkeys(one for one, _ in by_hand("lookalikes"))
    for kind, edit in (("as it is", PROGRAMMED["exact copies"]), ("5 % edited", PROGRAMMED["5 % of the words"])):
        for text in base:
            before, after = chance.sample(around, 2)
            rows.append((f"{before}\n\n{edit(text, chance)}\n\n{after}", text, f"inside a longer prompt, {kind}"))
    return pl.DataFrame(
        [*((text, text, "original") for text in originals), *rows], schema=["text", "origin", "kind"], orient="row"
    )


def nearly_same_words(texts: pl.Series, threshold: float = 0.8) -> np.ndarray:
    """Return clusters of near-duplicates."""
    return components(len(texts), near_edges(sliced(texts), threshold=threshold))


def same_words(texts: pl.Series) -> np.ndarray:
    """Return clusters of texts with the same words."""
    return nearly_same_words(texts, 1)


def in_clusters(rows: pl.DataFrame, clusters: np.ndarray) -> list[set[str]]:
    """Return, per row, the origins of the others in its cluster; its own only if the original itself is among them."""
    frame = rows.select("origin", "kind", cluster=clusters)
    members: dict[int, list[tuple[str, str]]] = {}
    for origin, kind, cluster in frame.rows():
        members.setdefault(cluster, []).append((origin, kind))
    return [
        {other for other, other_kind in members[cluster] if other != origin or other_kind == "original" != kind}
        for origin, kind, cluster in frame.rows()
    ]


def in_evals(rows: pl.DataFrame) -> list[set[str]]:
    """Return, per row, the originals that it hits as an eval set, except those that its own original contains."""
    items = rows.filter(pl.col("kind") == "original").get_column("origin").to_list()
    index = EvalIndex.build([EvalSet.of("originals", items, items)])
    found: list[set[str]] = [set() for _ in range(len(rows))]
    origins = rows.get_column("origin").to_list()
    for row, item in hits(rows.get_column("text"), index).select("row", "item").rows():
        if item == origins[row] or item not in origins[row]:
            found[row].add(item)
    return found


def counted(rows: pl.DataFrame, found: Mapping[str, Sequence[set[str]]]) -> pl.DataFrame:
    """
    in : as returned by `planted`; per method, the origins that it reports for each row
    out: kind, planted, and per method the number of rows with the true origin (of lookalikes, with any origin)
    """
    table = []
    kinds = rows.with_row_index("row").filter(pl.col("kind") != "original")
    for (kind,), group in kinds.group_by("kind", maintain_order=True):
        own = group.select("row", "origin").rows()
        counts = {
            method: sum(bool(reported[row]) if kind == LOOKALIKE else origin in reported[row] for row, origin in own)
            for method, reported in found.items()
        }
        table.append({"kind": kind, "planted": len(own), **counts})
    return pl.DataFrame(table)


def truths(rows: pl.DataFrame, reported: Sequence[set[str]]) -> tuple[int, int]:
    """Return the numbers of planted rows reported with their true origin alone, and with any."""
    planted_rows = rows.with_row_index("row").filter(pl.col("kind") != "original").select("row", "origin", "kind")
    every = [(origin, reported[row], kind) for row, origin, kind in planted_rows.rows() if reported[row]]
    return sum(found == {origin} and kind != LOOKALIKE for origin, found, kind in every), len(every)


def contradictions(base: Sequence[str], method: Method, seed: int = 0) -> int:
    """Return how many pairs, one per base text, are found again with the prompt edited and the answers swapped."""
    chance = random.Random(seed)
    edits = [EDITS[kind] for kind in ("case", "spaces")]
    answers = [[base[(place + ahead) % len(base)] for ahead in (1, 2)] for place in range(len(base))]
    sides = [*zip(base, *zip(*answers, strict=True), strict=True)]
    turned = [tuple(edits[place % 2](text, chance) for text in (p, b, a)) for place, (p, a, b) in enumerate(sides)]
    prompt, one, other = method(pl.Series([text for row in (*sides, *turned) for text in row])).reshape(-1, 3).T
    here, there = slice(len(base)), slice(len(base), None)
    crossed = (one[here] == other[there]) & (other[here] == one[there])
    return int(np.count_nonzero((prompt[here] == prompt[there]) & crossed))
