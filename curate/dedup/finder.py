"""Duplicate finders: the protocol behind `dedup.near` and `dedup.semantic`."""

from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl

from curate.dedup.tables import Texts
from curate.engine import Engine
from curate.schema.section import Compared, Section


class FinderSection(Section):
    """The settings that every finder's section has."""

    compare: Compared = "prompt"
    max_per_cluster: int | None = 1


class Corpus(Protocol):
    """The pairs to compare, by row: 0 to `rows` - 1. Rows that were dropped earlier have null texts."""

    @property
    def rows(self) -> int:
        """The number of rows, dropped ones included."""

    @property
    def engine(self) -> Engine:
        """Where work on its blocks runs."""

    def texts(self, compare: str, *, whole: bool = False) -> Texts:
        """Return the texts of all rows: str, null for dropped rows. Of prompts, what they ask, or the whole."""

    def vectors(self, compare: str, model: str | None, *, whole: bool = False) -> np.ndarray:
        """Return unit vectors of all rows, [rows, dim] float32; zeros for dropped rows and texts without a word."""

    def contexts(self, compare: str) -> np.ndarray:
        """
        Return the context of each row that many prompts share: uint64, 0 for none. Rows of the same context are
        compared by what they ask, all other pairs of rows whole.
        """


class DuplicateFinder(Protocol):
    """
    A way to find similar texts: it finds edges, clusters them, measures pairs, and compares with other sets.

    A finder is a class: `section` is its section of the recipe, `about` its reason in ledger and report (the rule
    `NAME_duplicate`). A run creates one instance, which may keep expensive results (vectors) between calls.
    """

    section: ClassVar[Any]  # a subclass of FinderSection
    about: ClassVar[str]

    def __init__(self, settings: Any, corpus: Corpus) -> None: ...

    def edges(self) -> pl.DataFrame:
        """Return EDGES: pairs of rows whose similarity reaches the threshold."""

    def clusters(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return row, cluster (u64) for every row in a cluster of two or more."""

    def similarity(self, pairs: pl.DataFrame) -> pl.Series:
        """Return the similarity (f64) of each `row` to its `duplicate_of` (u64 both)."""

    def against(self, others: Corpus) -> pl.DataFrame:
        """Return MATCHES in another set."""
