"""The shapes that preference data comes in. One file a shape: which columns mark it, and how it becomes PAIR."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import polars as pl

from curate.errors import InputError, unknown
from curate.sources.columns import Field
from curate.sources.formats import alpaca_eval, hh_rlhf, llmbar, mapped, own, preference
from curate.sources.raw_block import RawBlock

# The first that recognises the columns wins, so the particular ones come before the general one. Every module has
#   fields(columns)  -> its fields when the raw columns are of this shape, else None
#   to_pairs(typed)  -> the typed frame with prompt, chosen, rejected as messages; pure
FORMATS: dict[str, ModuleType] = {
    "prefcurate": own,
    "alpaca_eval": alpaca_eval,
    "llmbar": llmbar,
    "hh_rlhf": hh_rlhf,
    "preference": preference,
}


@dataclass(frozen=True, slots=True)
class Format:
    """How the raw blocks of one input become pairs."""

    name: str
    fields: Mapping[str, Field]
    to_pairs: Callable[[pl.DataFrame], pl.DataFrame]
    prepare: Callable[[RawBlock], RawBlock] = lambda block: block


def detect(columns: Mapping[str, Sequence[Any] | pl.Series], name: str | None = None) -> Format:
    """The format of raw columns (their first rows are enough), or the one that was asked for by name."""
    if name is not None and name not in FORMATS:
        raise unknown("format", name, FORMATS)
    for known, module in FORMATS.items():
        if name in (None, known) and (fields := module.fields(columns)) is not None:
            return Format(known, fields, module.to_pairs)
    names = ", ".join(repr(column)[1:-1] for column in columns)  # a name may hold a line break
    found = f"the columns {names}" if columns else "no columns"
    shape = f"are not of the format {name}" if name else f"match none of the formats {', '.join(FORMATS)}"
    raise InputError(f"{found} {shape}. Name them: --columns prompt=…,chosen=…,rejected=… (source.columns in a recipe)")


def by_columns(block: RawBlock, columns: Mapping[str, str], winners: Mapping[str, Sequence[Any]]) -> Format:
    """The format that the user's own mapping of columns describes."""
    reach = partial(mapped.reach, mapping=columns)
    return Format(
        "columns", mapped.fields(reach(block).columns, columns), partial(mapped.to_pairs, winners=winners), reach
    )
