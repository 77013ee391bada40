"""An eval set: its name and the texts of its items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from curate.errors import InputError, RecipeError


@dataclass(frozen=True, slots=True)
class EvalSet:
    """An eval set: its name, and the text and id of every item."""

    name: str
    items: pl.Series  # str
    ids: pl.Series  # str, unique

    @classmethod
    def of(cls, name: str, texts: Sequence[str], ids: Sequence[str] | None = None) -> Self:
        """Return the set of these texts, without blank ones; ids default to positions. Raises InputError if empty."""
        numbers = map(str, range(len(texts))) if ids is None else ids
        kept = [(number, text) for number, text in zip(numbers, texts, strict=True) if text.strip()]
        if not kept:
            raise InputError(f"the eval set {name!r} is empty: none of its {len(texts)} items contains text")
        return cls(name, *(pl.Series([item[side] for item in kept], dtype=pl.String) for side in (1, 0)))


def uniquely_named(sets: Iterable[EvalSet]) -> list[EvalSet]:
    """Return the sets as a list. Raises RecipeError for no sets, and for two of the same name."""
    listed = list(sets)
    names = [one.name for one in listed]
    if not names:
        raise RecipeError("no eval set is named")
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"two eval sets are named {twice[0]!r}; names must be unique")
    return listed
