"""The settings of the recipe's pair section, and what they say about a single answer."""

from dataclasses import dataclass

import polars as pl

from curate.schema import COMPLETE

# Rounding errors: 4.6 - 3.6 is slightly less than 1, and two means of equal ratings may differ slightly.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Settings:
    """The recipe's pair section."""

    strategy: str
    min_margin: float
    min_chosen_score: float | None
    near: float
    length_matched: bool
    order: tuple[str, ...]
    salt: str
    cut_off: str
    min_logp_per_token: float | None

    def wins(self, lead: pl.Expr) -> pl.Expr:
        """Return whether a lead is positive and at least `min_margin`."""
        return (lead > TOLERANCE) & (lead >= self.min_margin - TOLERANCE)

    def good(self) -> pl.Expr:
        """Return whether an answer can be chosen: it is complete, and its score reaches `min_chosen_score`."""
        floor = pl.lit(self.min_chosen_score, pl.Float64) - TOLERANCE
        return pl.col("complete") & (floor.is_null() | (pl.col("score") >= floor))

    def equals(self, picked: str) -> pl.Expr:
        """Return whether the score of an answer counts as equal to that in the column `picked`."""
        return (pl.col("score") - pl.col(picked)).abs() <= self.near + TOLERANCE


def pairable(cut_off: str = "drop", min_logp_per_token: float | None = None) -> pl.Expr:
    """Return whether each of CANDIDATES can be in a pair at all, by its finish reason and its likelihood."""
    floor = pl.lit(min_logp_per_token, pl.Float64)
    is_likely = floor.is_null() | (pl.col("logp_per_token") >= floor - TOLERANCE).fill_null(value=False)
    return is_likely & (is_complete() | (cut_off == "rejected"))


def is_complete() -> pl.Expr:
    """Return whether each of CANDIDATES ended by itself; an unknown finish reason counts as such."""
    return pl.col("finish_reason").str.to_lowercase().is_in(COMPLETE).fill_null(value=True)
