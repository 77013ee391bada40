"""What a form of a trainer's data is, what it may be unable to hold, and which pairs it cannot express."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from curate.rundir.file_form import SIDES, Present, present
from curate.schema import MESSAGE, PAIR
from curate.text.messages import CALL_ID

# Columns beside the messages, written where some pair has them; loaders leave columns alone that they do not know.
SCORES = ("chosen_score", "rejected_score")
COLUMNS = (*SCORES, "strength", "chosen_model", "rejected_model", "extra")
TOOLS = "tools"
MARGIN = "margin"  # chosen_score - rejected_score, of which trainers want all or none

# What a pair may hold, and its fields.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "scores": (*SCORES, MARGIN),
    "strength": ("strength",),
    "models": ("chosen_model", "rejected_model"),
    "other columns": ("extra",),
    "tools offered": (TOOLS,),
    "reasoning": ("reasoning",),
    "names of speakers": ("name",),
    "ids of calls": ("tool_call_id",),
}


def _turns(side: str, condition: pl.Expr) -> pl.Expr:
    return pl.col(side).list.eval(condition).list.any()


def _any_turn(condition: pl.Expr, sides: Iterable[str] = SIDES) -> pl.Expr:
    return pl.any_horizontal(_turns(side, condition) for side in sides)


def _has(name: str) -> pl.Expr:
    """Return whether a pair has a field: a column of PAIR, or an optional one of any of its messages."""
    if name == MARGIN:
        return pl.lit(value=False)
    in_turns = name in MESSAGE.to_schema()
    return _any_turn(_field(name).is_not_null()) if in_turns else pl.col(name).is_not_null()


_field = pl.element().struct.field
_rest = pl.col("prompt").list.eval(pl.element().filter((_field("role") != "system") | (pl.element().cum_count() > 1)))
_roles = _rest.list.eval(_field("role"))
_asks = pl.when(pl.element().is_in(("user", "tool"))).then(pl.lit("?"))
_turns_in_short = _roles.list.eval(_asks.when(pl.element() == "assistant").then(pl.lit("!")).otherwise(pl.lit("-")))
_alternate = _turns_in_short.list.join("").str.contains(r"^(\?!)*\?$")
_answers = [pl.col(side).list.first().struct.field("role").eq_missing("assistant") for side in ("chosen", "rejected")]

# What is lost of a pair that a form can express otherwise.
LOSSES: Mapping[str, pl.Expr] = {
    **{what: pl.any_horizontal(map(_has, names)) for what, names in FIELDS.items()},
    "ids of calls": _any_turn(_field("tool_call_id").is_not_null() | _field("tool_calls").str.contains(CALL_ID)),
    "empty system messages": _any_turn((_field("role") == "system") & (_field("content") == ""), ["prompt"]),
}
# Why a form cannot express a pair.
REFUSALS: Mapping[str, pl.Expr] = {
    "answers of several turns": pl.any_horizontal(pl.col("chosen", "rejected").list.len() > 1),
    "answers by others than the assistant": ~pl.all_horizontal(_answers),
    "prompts of more than a question": ~((pl.col("prompt").list.len() == 1) & (_roles.list.first() == "user")),
    "turns that do not alternate": ~_alternate,
    "calls of tools or their results": _any_turn(_field("tool_calls").is_not_null() | (_field("role") == "tool")),
    "text beside a call": _any_turn(_field("tool_calls").is_not_null() & (_field("content") != "")),
    "messages of a developer": _any_turn(_field("role") == "developer"),
    "empty answers": _any_turn(_field("content") == "", ["chosen", "rejected"]),
    "empty turns": _any_turn(_field("content") == ""),
    "equal answers": pl.col("chosen")
    .list.first()
    .struct.field("content")
    .eq(pl.col("rejected").list.first().struct.field("content")),
}


@dataclass(frozen=True)
class Form:
    """
    A form in which a trainer reads pairs.

    `rows` is a pure function: PAIR, and which optional fields to write -> rows as in the file, of the same columns and
    types for every block. In them messages are in the form of files, as `rundir.file_form` makes them.
    """

    about: str  # the columns
    reader: str  # what reads it
    reference: str  # where that is documented, or its loader
    rows: Callable[[pl.DataFrame, Present], pl.DataFrame]
    lost: tuple[str, ...] = ()  # keys of LOSSES
    refused: tuple[str, ...] = ()  # keys of REFUSALS
    endings: tuple[str, ...] = (".jsonl", ".json", ".parquet", ".csv")
    has_margin: bool = False  # a column `margin`, where all pairs have scores
    calls_only_in_parquet: bool = False  # and names and reasoning
    tools_as_text: bool = False  # as JSON in a text, also in JSON files
    entry: Mapping[str, object] = field(default_factory=dict)  # of LLaMA-Factory's dataset_info.json, but the file name

    def kept(self, found: Present) -> Present:
        """Return what this form can hold, of the optional fields and columns found."""
        lost = {name for what in self.lost for name in FIELDS.get(what, ())}
        return found - lost - (set() if self.has_margin else {MARGIN})

    def refusals(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return, per pair, which of `refused` hold: one boolean column each."""
        return pairs.select(REFUSALS[why].fill_null(value=True).alias(why) for why in self.refused)

    def losses(self, pairs: pl.DataFrame) -> dict[str, int]:
        """Return of how many pairs each of `lost` is lost; without those of which it is none."""
        counts = pairs.select(LOSSES[what].fill_null(value=False).sum().alias(what) for what in self.lost)
        return {what: count for what, count in (counts.row(0, named=True) if self.lost else {}).items() if count}


def found_in(pairs: pl.DataFrame) -> Present:
    """Return which optional fields and columns some pair has: PAIR -> names of OPTIONAL, of COLUMNS, and `tools`."""
    return present(pairs) | {name for name in COLUMNS if pairs.get_column(name).count()}


def columns_of(found: Collection[str]) -> list[pl.Expr]:
    """Return the columns beside the messages that are written."""
    margin = [(pl.col("chosen_score") - pl.col("rejected_score")).alias(MARGIN)] if MARGIN in found else []
    return [*(pl.col(name) for name in PAIR if name in found and name in COLUMNS), *margin]
