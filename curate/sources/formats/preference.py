"""
Chosen and rejected, with or without a prompt, as texts or as messages: TRL's preference types and similar ones.

in : chosen, rejected: str or list[message] | prompt: str or list[message], optional
     system, input: str, optional, added to the prompt | scores and model names under their usual names
out: PAIR

Repaired:
- whole conversations in chosen/rejected, with or without a prompt column: the shared turns move to the prompt
  (ultrafeedback_binarized and distilabel write a text prompt next to whole conversations, which TRL no longer splits
  since 0.29)
- plain texts without a prompt: their common prefix, up to its last whitespace, becomes the prompt

https://huggingface.co/docs/trl/dataset_formats
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field, kind_of
from curate.sources.formats.comparison import add_problem, as_messages, text_field
from curate.sources.raw_block import Columns
from curate.text.messages import last_user_text, one_message, split_conversations, split_texts

PROMPT = ("prompt", "instruction", "question", "query", "input", "context")
SYSTEM = ("system", "system_prompt")
SIDES = ("chosen", "rejected")
# Numbers and labels found in many datasets, with their usual names.
NUMBERS: dict[str, tuple[str, ...]] = {
    f"{side}_score": (f"{side}_score", f"score_{side}", f"{side}-rating", f"{side}_rating", f"{side}_avg_rating")
    for side in SIDES
}
LABELS: dict[str, tuple[str, ...]] = {
    f"{side}_model": (f"{side}_model", f"{side}-model", f"model_{side}", f"{side}_policy") for side in SIDES
}


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of chosen, rejected and all other known columns; None without chosen and rejected."""
    if not {"chosen", "rejected"} <= set(columns):
        return None
    found = {"chosen": text_field("chosen", columns), "rejected": text_field("rejected", columns)}
    if prompt := _first(PROMPT, columns):
        found["prompt"] = text_field(prompt, columns, needed=False)
    found |= context_fields(columns, prompt)
    numbers = {name: Field(column, "number", needed=False) for name, column in _present(NUMBERS, columns)}
    labels = {name: Field(column, "label", needed=False) for name, column in _present(LABELS, columns)}
    return found | numbers | labels


def context_fields(columns: Columns, prompt: str | None) -> dict[str, Field]:
    """Return the fields `system` and `input`, where such columns exist next to the prompt column."""
    found: dict[str, Field] = {}
    if system := _first(SYSTEM, columns):
        found["system"] = Field(system, "text", needed=False)
    if "input" in columns and prompt != "input" and kind_of(columns["input"]) != "messages":
        found["input"] = Field("input", "text", needed=False)
    return found


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert every variant to prompt, chosen and rejected as messages, then add system and input to the prompt."""
    if "prompt" not in frame.columns:
        implicit = frame.schema["chosen"] == pl.String and frame.schema["rejected"] == pl.String
        frame = split_texts(frame) if implicit else frame.with_columns(prompt=pl.lit(None, MESSAGES))
    frame = frame.with_columns(
        as_messages("prompt", "user", frame.schema),
        as_messages("chosen", "assistant", frame.schema),
        as_messages("rejected", "assistant", frame.schema),
    )
    frame = join_context(_unpack_conversations(frame))
    no_prompt = pl.col("prompt").list.len().fill_null(0) == 0
    return add_problem(
        frame, no_prompt, "missing_prompt", "no prompt column, and chosen and rejected share no user turn"
    )


def _unpack_conversations(frame: pl.DataFrame) -> pl.DataFrame:
    """Split responses that are whole conversations, i.e. start with a role other than assistant."""
    starts = {s: (pl.col(s).list.first().struct.field("role") != "assistant").fill_null(value=False) for s in SIDES}
    whole = frame.select(pl.any_horizontal(*starts.values()).alias("whole")).get_column("whole")
    if not whole.any():
        return frame
    # If only one side is a whole conversation, the other one lacks the prompt.
    has_prompt = pl.col("prompt").is_not_null()
    frame = frame.with_columns(
        pl.when(has_prompt & whole & ~starts[side]).then(pl.concat_list("prompt", side)).otherwise(side).alias(side)
        for side in SIDES
    )
    shared, before = split_conversations(frame), _not_repeated(frame)
    return frame.with_columns(
        prompt=pl.when(whole).then(pl.concat_list(before, shared.get_column("prompt"))).otherwise("prompt"),
        **{side: pl.when(whole).then(shared.get_column(side)).otherwise(side) for side in SIDES},
    )


def _not_repeated(frame: pl.DataFrame) -> pl.Series:
    """Return the prompt's turns that the conversation lacks: all, none, or those before the repeated ones."""
    prompt, question = pl.col("prompt"), last_user_text("prompt")
    contents = pl.col("chosen").list.eval(pl.element().struct.field("content"))
    overlap = frame.select(
        "prompt",
        "chosen",
        begins=pl.col("chosen").list.head(prompt.list.len()) == prompt,  # null where there is no prompt
        repeated=(contents.list.contains(question) | (question.str.strip_chars() == "")).fill_null(value=False),
    )
    some = overlap.select(pl.col("repeated") & ~pl.col("begins") & (prompt.list.len() > 1)).to_series()
    parts = iter([_before(*row) for row in overlap.filter(some).select("prompt", "chosen").rows()])
    before = pl.Series([next(parts) if part else None for part in some], dtype=MESSAGES)
    none = pl.lit([], MESSAGES)
    rest = pl.when(pl.col("repeated") | pl.col("begins")).then(none).otherwise(pl.coalesce(prompt, none))
    return overlap.select(pl.coalesce(before, rest)).to_series()


def _before(prompt: list[Any], conversation: list[Any]) -> list[Any]:
    """Return the prompt's turns before the start of the conversation; none if the prompt does not contain its start."""
    sizes = range(len(prompt), 0, -1)
    return next((prompt[:-size] for size in sizes if prompt[-size:] == conversation[:size]), [])


def join_context(frame: pl.DataFrame) -> pl.DataFrame:
    """Append `input` to the last user turn after a blank line; prepend `system` unless there is a system turn."""
    if "input" in frame.columns:
        given = pl.col("input").str.strip_chars() != ""
        joined = one_message("user", pl.concat_str(last_user_text(), pl.lit("\n\n"), pl.col("input")))
        one_turn = pl.col("prompt").list.last().struct.field("role") == "user"
        with_input = pl.concat_list(pl.col("prompt").list.head(pl.col("prompt").list.len() - 1), joined)
        frame = frame.with_columns(prompt=pl.when(given & one_turn).then(with_input).otherwise("prompt"))
    if "system" in frame.columns:
        given = pl.col("system").str.strip_chars() != ""
        absent = pl.col("prompt").list.first().struct.field("role") != "system"
        with_system = pl.concat_list(one_message("system", pl.col("system")), pl.col("prompt"))
        frame = frame.with_columns(prompt=pl.when(given & absent).then(with_system).otherwise("prompt"))
    return frame


def _present(known: Mapping[str, Sequence[str]], columns: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name, column) for name, names in known.items() if (column := _first(names, columns))]


def _first(names: Sequence[str], columns: Mapping[str, object]) -> str | None:
    return next((name for name in names if name in columns), None)
