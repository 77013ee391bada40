"""What each step of a selection does with a frame of pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from curate.errors import RecipeError, nearest
from curate.selection import ranked
from curate.selection.diversity import cap, diverse
from curate.selection.ranked import CHOICE, column_of
from curate.selection.sections import Step
from curate.selection.step_sections import Cap, Like, Sized, Topics


@dataclass(frozen=True)
class Material:
    """
    What steps need beyond a frame, made when asked for.

    vectors: unit vectors of the prompts, [rows, dim]. clusters: the prompts' clusters (int, -1 for none) and the names
    of these. relevance: of every row to what a step describes, 0..1, NaN where it was not measured.
    """

    vectors: Callable[[], np.ndarray]
    clusters: Callable[[], tuple[np.ndarray, Sequence[str]]]
    relevance: Callable[[Like], np.ndarray]

    @cached_property
    def labels(self) -> np.ndarray:
        """The cluster of each row."""
        return self.clusters()[0]

    def of(self, rows: np.ndarray) -> "Material":
        """Return the material of some of the rows."""
        return Material(
            lambda: self.vectors()[rows],
            lambda: (self.labels[rows], self.clusters()[1]),
            lambda settings: self.relevance(settings)[rows],
        )


@dataclass(frozen=True)
class Asked:
    """A step, the pairs that it chooses from, and their material."""

    name: str
    its: Any  # the step's section
    pairs: pl.DataFrame
    material: Material
    seed: int

    @property
    def count(self) -> int:
        """How many pairs are kept."""
        its: Sized = self.its
        return its.count(len(self.pairs))


def choose(step: Step, pairs: pl.DataFrame, material: Material, seed: int) -> pl.DataFrame:
    """Return CHOICE of one step: a row per pair."""
    return CHOICES[step.name](Asked(step.name, step.settings, pairs, material, seed))


def _by_relevance(of: Asked) -> pl.DataFrame:
    """Return CHOICE by relevance; a pair whose relevance is unknown is similar to nothing."""
    its, found = of.its, of.material.relevance(of.its)
    values = np.where(np.isnan(found), -1.0, found)
    if its.top is None and its.share is None:
        similar = values >= (0.5 if its.threshold is None else its.threshold)
    else:
        count = its.top if its.top is not None else max(1, round((its.share or 0) * len(values)))
        similar = np.zeros(len(values), bool)
        similar[np.argsort(-values, kind="stable")[:count]] = True
        similar &= values >= 0
    keep = similar if of.name == "like" else ~similar
    value = pl.Series("value", found, dtype=pl.Float64).fill_nan(None)
    return pl.DataFrame({"keep": keep, "value": value, "rule": of.name}, schema=CHOICE)


def _by_topic(of: Asked) -> pl.DataFrame:
    """Return CHOICE by the names of clusters; value is the cluster."""
    its: Topics = of.its
    labels, names = of.material.clusters()
    wanted, unwanted = ({n for text in texts for n in _named(text, names)} for texts in (its.keep, its.drop))
    keep = ~np.isin(labels, sorted(unwanted))
    if its.keep:
        keep &= np.isin(labels, sorted(wanted))
    return pl.DataFrame({"keep": keep, "value": labels.astype(np.float64), "rule": "topics"}, schema=CHOICE)


def _named(text: str, names: Sequence[str]) -> list[int]:
    """Return the clusters whose name is the text, or has its words. Raise RecipeError if there is none."""
    words = {word.strip().lower() for word in text.split(",") if word.strip()}
    found = [n for n, name in enumerate(names) if words and words <= {word.strip() for word in name.lower().split(",")}]
    if not found:
        known = sorted({word.strip() for name in names for word in name.split(",")})
        raise RecipeError(
            f"select.topics: no cluster is named {text!r}.{nearest(text, known)} Clusters: {_list(names)}"
        )
    return found


def _list(names: Sequence[str]) -> str:
    return "; ".join(names[:20]) + (f"; and {len(names) - 20} more" if len(names) > 20 else "")


def _capped(of: Asked) -> pl.DataFrame:
    its: Cap = of.its
    quantile = of.pairs.select(ranked.quantile(column_of(its.by))).to_series()
    if its.per == "cluster":
        labels = of.material.labels
    else:
        labels = of.pairs.get_column(its.per).rank("dense").cast(pl.Int64).fill_null(-1).to_numpy()
    keep = np.zeros(len(of.pairs), bool)
    keep[cap(labels, quantile.fill_null(-1).to_numpy(), its.n)] = True
    return pl.DataFrame({"keep": keep, "value": quantile, "rule": "cap"}, schema=CHOICE)


def _diverse(of: Asked) -> pl.DataFrame:
    quantile = of.pairs.select(ranked.quantile(column_of(of.its.by))).to_series()
    known = quantile.fill_null(-1).to_numpy() if quantile.is_not_null().any() else None
    method: Literal["farthest", "mmr"] = "farthest" if of.name == "farthest" else "mmr"
    weight = getattr(of.its, "relevance", 0.5)
    chosen = diverse(of.material.vectors(), known, of.count, method=method, lambda_=weight, seed=of.seed)
    keep = np.zeros(len(of.pairs), bool)
    keep[chosen] = True
    return pl.DataFrame({"keep": keep, "value": quantile, "rule": of.name}, schema=CHOICE)


CHOICES: dict[str, Callable[[Asked], pl.DataFrame]] = {
    "like": _by_relevance,
    "unlike": _by_relevance,
    "topics": _by_topic,
    "rip": lambda of: ranked.rip(of.pairs, score=of.its.score, length=of.its.length, gap=of.its.gap),
    "bees": lambda of: ranked.bees(of.pairs, of.count, low=of.its.low, high=of.its.high),
    "selective": lambda of: ranked.selective(of.pairs, of.count),
    "implicit_gap": lambda of: ranked.implicit_gap(of.pairs, of.count, floor=of.its.floor),
    "chosen_first": lambda of: ranked.chosen_first(of.pairs, chosen=of.its.chosen, gap=of.its.gap),
    "top": lambda of: ranked.top(of.pairs, of.count, by=of.its.by),
    "random": lambda of: ranked.random(of.pairs, of.count, seed=of.seed),
    "length_balanced": lambda of: ranked.length_balanced(of.pairs, width=of.its.width, seed=of.seed),
    "cap": _capped,
    "mmr": _diverse,
    "farthest": _diverse,
}
