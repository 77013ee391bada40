"""The settings of the recipe's pair section, and what they say about a single answer."""

from dataclasses import dataclass

import polars as pl

from curate.errors import RecipeError
from curate.schema import COMPLETE

# Rounding errors: 4.6 - 3.6 is slightly less than 1, and two means of equal ratings may differ slightly.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Settings:
    """The recipe's pair section. Raises RecipeError where it fits no strategy."""

    strategy: str = "max_min"
    min_margin: float = 0.0
    min_chosen_score: float | None = None
    near: float = 0.0
    length_matched: bool = False
    order: tuple[str, ...] = ()
    max_pairs: int | None = None
    salt: str = "prefcurate"
    cut_off: str = "drop"
    min_logp_per_token: float | None = None

    def __post_init__(self) -> None:
        if self.strategy == "delta" and len(set(self.order)) < 2:
            found = list(dict.fromkeys(self.order))
            raise RecipeError(f"pair.order: delta needs at least two models, the strongest first; found {found}")

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


def judged() -> pl.Expr:
    """Return the score of each of CANDIDATES; NaN and infinity count as not judged."""
    return pl.when(pl.col("score").is_finite()).then("score")
