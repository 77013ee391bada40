"""What finds similar texts: the protocol behind `dedup.near` and `dedup.semantic`."""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl

from curate.dedup.tables import Blocks
from curate.schema.section import Compared, Section


class FinderSection(Section):
    """What the section of every finder says."""

    compare: Compared = "prompt"
    max_per_cluster: int | None = 1


class Corpus(Protocol):
    """The pairs that are compared, by row: 0 to `rows` - 1; rows that were dropped before have null texts."""

    @property
    def rows(self) -> int:
        """How many rows there are, dropped ones included."""

    def texts(self, compare: str) -> Blocks:
        """Return the texts of all rows, str, null for dropped rows."""

    def vectors(self, compare: str, model: str | None) -> np.ndarray:
        """Return their unit vectors, [rows, dim] float32, zeros for dropped rows and for texts that say nothing."""


class DuplicateFinder(Protocol):
    """
    One way to find texts that are similar: finds edges, groups them, measures pairs, and looks in other sets.

    A finder is a class: `section` is its section of the recipe, `about` its reason in ledger and report (the rule
    `NAME_duplicate`). An instance is made per run and may keep what is costly (vectors) between calls.
    """

    section: ClassVar[Any]  # a subclass of FinderSection
    about: ClassVar[str]

    def __init__(self, settings: Any, corpus: Corpus) -> None: ...

    def edges(self) -> pl.DataFrame:
        """Return EDGES: pairs of rows whose similarity reaches the threshold."""

    def clusters(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return row, cluster (u64) for the rows that are in a cluster of two or more."""

    def similarity(self, pairs: pl.DataFrame) -> pl.Series:
        """Return the similarity (f64) of each `row` to its `duplicate_of` (u64 both)."""

    def against(self, texts: Iterable[pl.Series]) -> pl.DataFrame:
        """Return MATCHES: for rows that are in another set, given by its texts, the most similar one there."""
