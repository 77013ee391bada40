"""
Formats of preference data, one module each: which columns identify a format, and how its rows become PAIR.

To add one, write a module with `fields` and `to_pairs` (see `Format`) and add its line to FORMATS.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from curate.errors import InputError, unknown
from curate.sources.columns import Field
from curate.sources.formats import alpaca_eval, arena_55k, hh_rlhf, llmbar, mapped, own, preference, reward_bench
from curate.sources.formats.advice import advice
from curate.sources.formats.answer_lists import LISTS
from curate.sources.formats.answer_rows import ROWS
from curate.sources.formats.base import AnswerFormat, DetectedFormat, Format
from curate.sources.formats.duel import DUELS
from curate.sources.formats.exports import EXPORTS
from curate.sources.formats.names import SIDES
from curate.sources.formats.trees import TREES
from curate.sources.raw_block import Columns, RawBlock

__all__ = ["EVAL_SETS", "FORMATS", "AnswerFormat", "DetectedFormat", "Format", "by_columns", "detect"]

# Formats of sets that models are measured by.
EVAL_SETS = ("llmbar", "reward_bench", "reward_bench_2", "judge_bench")
NAME_THEM = "Name them: --columns prompt=…,chosen=…,rejected=…"

# The first format that recognizes the columns is used, so specific formats come before the general one.
FORMATS: dict[str, Format | AnswerFormat] = {
    "prefcurate": own,
    "alpaca_eval": alpaca_eval,
    "llmbar": llmbar,
    "arena_55k": arena_55k,
    "hh_rlhf": hh_rlhf,
    "reward_bench": reward_bench,
    "reward_bench_2": LISTS["reward_bench_2"],
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
    if name:
        raise InputError(f"{found} do not match the format {name}.", NAME_THEM)
    what, hint = advice(columns, marks()) if columns else ("there is nothing to read", NAME_THEM)
    raise InputError(f"{found} match no known format: {what}.", f"{hint} (source.columns in a recipe)")


def marks() -> dict[str, set[str]]:
    """Return the columns by which a format is known, where they are fixed."""
    fixed = {name: {*shape.sides, *shape.verdict} for name, shape in DUELS.items()}
    fixed |= {name: {*shape.named[:1], *shape.marks, "response"} for name, shape in ROWS.items() if shape.marks}
    fixed |= {name: set(names) for name, names in (("alpaca_eval", alpaca_eval.MARKS), ("llmbar", llmbar.MARKS))}
    return fixed | {"preference": {"prompt", *SIDES}}


def detected(name: str, fields: Mapping[str, Field], shape: Format | AnswerFormat) -> DetectedFormat:
    """Return a format with its fields, whichever of the two protocols it follows."""
    if isinstance(shape, AnswerFormat):
        return DetectedFormat(name, fields, answers=shape)
    return DetectedFormat(name, fields, shape.to_pairs)


def by_columns(block: RawBlock, columns: Mapping[str, str], winners: Mapping[str, Sequence[Any]]) -> DetectedFormat:
    """Return the format described by the user's mapping of columns."""
    reach = partial(mapped.reach, mapping=columns)
    reached = reach(block).columns
    if set(columns) >= mapped.ANSWER:
        shape, found = mapped.answers(reached, columns)
        return DetectedFormat("columns", found, prepare=reach, answers=shape)
    return DetectedFormat("columns", mapped.fields(reached, columns), partial(mapped.to_pairs, winners=winners), reach)


def __dir__() -> list[str]:
    return sorted(__all__)
