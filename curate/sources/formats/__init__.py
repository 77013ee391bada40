"""
Formats of preference data, one module each: which columns identify a format, and how its rows become PAIR.

To add one, write a module with `fields` and `to_pairs` (see `Format`) and add its line to FORMATS.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from curate.errors import InputError, unknown
from curate.sources.columns import Field
from curate.sources.formats import alpaca_eval, arena_55k, hh_rlhf, llmbar, mapped, own, preference
from curate.sources.formats.answer_lists import LISTS
from curate.sources.formats.answer_rows import ROWS
from curate.sources.formats.base import AnswerFormat, DetectedFormat, Format
from curate.sources.formats.duel import DUELS
from curate.sources.formats.exports import EXPORTS
from curate.sources.formats.trees import TREES
from curate.sources.raw_block import Columns, RawBlock

__all__ = ["FORMATS", "AnswerFormat", "DetectedFormat", "Format", "by_columns", "detect"]

# The first format that recognizes the columns is used, so specific formats come before the general one.
FORMATS: dict[str, Format | AnswerFormat] = {
    "prefcurate": own,
    "alpaca_eval": alpaca_eval,
    "llmbar": llmbar,
    "arena_55k": arena_55k,
    "hh_rlhf": hh_rlhf,
    "correct_answers": LISTS["correct_answers"],
    **DUELS,
    "preference": preference,
    **EXPORTS,
    **LISTS,
    **TREES,
    **ROWS,
}


def detect(columns: Columns, name: str | None = None) -> DetectedFormat:
    """Return the format of raw columns (a few rows are enough), or the format `name`. Raise InputError if none fits."""
    if name is not None and name not in FORMATS:
        raise unknown("format", name, FORMATS)
    for known, shape in FORMATS.items():
        if name in (None, known) and (fields := shape.fields(columns)) is not None:
            return detected(known, fields, shape)
    names = ", ".join(repr(column)[1:-1] for column in columns)  # a name may contain a line break
    found = f"the columns {names}" if columns else "no columns"
    mismatch = f"do not match the format {name}" if name else f"match none of the formats {', '.join(FORMATS)}"
    hint = "Name them: --columns prompt=…,chosen=…,rejected=… (source.columns in a recipe)"
    raise InputError(f"{found} {mismatch}.", hint)


def detected(name: str, fields: Mapping[str, Field], shape: Format | AnswerFormat) -> DetectedFormat:
    """Return a format with its fields, whichever of the two protocols it follows."""
    if isinstance(shape, AnswerFormat):
        return DetectedFormat(name, fields, answers=shape)
    return DetectedFormat(name, fields, shape.to_pairs)


def by_columns(block: RawBlock, columns: Mapping[str, str], winners: Mapping[str, Sequence[Any]]) -> DetectedFormat:
    """Return the format described by the user's mapping of columns."""
    reach = partial(mapped.reach, mapping=columns)
    fields = mapped.fields(reach(block).columns, columns)
    return DetectedFormat("columns", fields, partial(mapped.to_pairs, winners=winners), reach)


def __dir__() -> list[str]:
    return sorted(__all__)
