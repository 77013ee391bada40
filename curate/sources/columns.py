"""Raw columns → typed columns: text, messages, turns, numbers, labels. A value of the wrong kind becomes a problem."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import polars as pl

from curate.sources.message import Problem, tools, unpadded
from curate.sources.raw_block import Columns, RawBlock
from curate.sources.readers import Read, listed, read_label, read_messages, read_number, read_text, read_turns

# turns: a text or a conversation, row by row; earlier: the same, or an empty list; absent: nothing, since what the
# column holds would be lost; json: anything, as JSON; tools: the tools that a conversation offers; asked and offered:
# turns, and tools, of objects that hold both
Kind = Literal["text", "messages", "turns", "earlier", "number", "label", "absent", "json", "tools", "asked", "offered"]
SAMPLE = 100  # values of a typed column that are looked at to tell its kind


@dataclass(frozen=True, slots=True)
class Field:
    """The raw column that a field is read from, and its kind. A null is a problem if the field is needed."""

    column: str
    kind: Kind
    needed: bool = True
    is_kept: bool = False  # it is in `extra`, too


def typed(block: RawBlock, fields: Mapping[str, Field]) -> pl.DataFrame:
    """
    Return the fields of a raw block as typed columns.

    in : raw columns of any kind
    out: one typed column per field; source_row; extra (the other columns as a JSON object, null if there are none);
         problem and detail, null where the row is usable. A row with several problems keeps the first.
    """
    height = len(block.source_row)
    rules: list[str | None] = [None] * height
    details: list[str | None] = [None] * height
    columns: dict[str, pl.Series] = {}
    for name, field in fields.items():
        values = block.columns.get(field.column, [None] * height)
        series, problems = READERS[field.kind](values)
        if field.needed:
            problems |= {
                i: Problem(f"missing_{name}", "null") for i in series.is_null().arg_true() if i not in problems
            }
        for i, problem in problems.items():
            if rules[i] is None:
                rules[i], details[i] = problem.rule, f"{field.column}: {problem.detail}"
        columns[name] = series.alias(name)
    used = {field.column for field in fields.values() if not field.is_kept}
    rest = {name: values for name, values in block.columns.items() if name not in used}
    return pl.DataFrame(
        [
            *columns.values(),
            pl.Series("source_row", block.source_row, dtype=pl.UInt64),
            as_json(rest, height),
            pl.Series("problem", rules, dtype=pl.String),
            pl.Series("detail", details, dtype=pl.String),
        ]
    )


def kind_of(values: Sequence[Any] | pl.Series) -> Kind | None:
    """Return "text" or "messages" by the first value that is either, else None. Only empty lists count as messages."""
    sample = listed(values.drop_nulls().head(SAMPLE)) if isinstance(values, pl.Series) else values
    kind: Kind | None = None
    for value in sample:
        if isinstance(value, str):
            return "text"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "messages"
        if value == []:
            kind = "messages"
    return kind


def text_field(column: str, columns: Columns, *, needed: bool = True) -> Field:
    """Return a field of texts or of messages, depending on the column's first values."""
    return Field(column, kind_of(columns[column]) or "text", needed)


def as_json(columns: Mapping[str, Sequence[Any] | pl.Series], height: int) -> pl.Series:
    """Return the column `extra`: each row of the columns as a JSON object."""
    if not columns:
        return pl.Series("extra", [None] * height, dtype=pl.String)
    lists = [listed(values) if isinstance(values, pl.Series) else values for values in columns.values()]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
    lines = msgspec.json.Encoder(enc_hook=str).encode_lines(rows).decode()  # JSON has no newline inside of a text
    return pl.Series("extra", lines.split("\n")[:-1], dtype=pl.String)


def read_earlier(values: Sequence[Any] | pl.Series) -> Read:
    """Read turns of which there may be none."""
    rows, problems = read_turns(values)
    return rows, {place: problem for place, problem in problems.items() if problem.rule != "no_messages"}


def read_absent(values: Sequence[Any] | pl.Series) -> Read:
    """Read nothing: any value but null and an empty list, object or text is a problem (`not_supported`)."""
    plain = listed(values) if isinstance(values, pl.Series) else values
    lost = Problem("not_supported", "it would be lost; only text is supported")
    return pl.Series([None] * len(plain), dtype=pl.Null), {i: lost for i, v in enumerate(plain) if _holds(v)}


def read_json(values: Sequence[Any] | pl.Series) -> Read:
    """Read any value as JSON; a text that is a JSON list or object is taken for what it holds."""
    plain = listed(values) if isinstance(values, pl.Series) else values
    encode = msgspec.json.Encoder(enc_hook=str).encode
    rows = [None if value is None else value if _is_json(value) else encode(value).decode() for value in plain]
    return pl.Series(rows, dtype=pl.String), {}


def _is_json(value: Any) -> bool:
    if not isinstance(value, str) or value.strip()[:1] + value.strip()[-1:] not in ("[]", "{}"):
        return False
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def read_tools(values: Sequence[Any] | pl.Series) -> Read:
    """Read tools as one JSON array in OpenAI's form; null where there are none."""
    plain = [unpadded(value) for value in listed(values)] if isinstance(values, pl.Series) else values
    rows: list[str | None] = []
    problems: dict[int, Problem] = {}
    for place, value in enumerate(plain):
        try:
            rows.append(tools(value))
        except Problem as problem:
            rows.append(None)
            problems[place] = problem
    return pl.Series(rows, dtype=pl.String), problems


def offers_tools(values: Sequence[Any] | pl.Series) -> bool:
    """Return whether any of the first values is an object that has `tools`."""
    if isinstance(values, pl.Series):
        return isinstance(values.dtype, pl.Struct) and "tools" in values.dtype.to_schema()
    return any(isinstance(value, dict) and "tools" in value for value in values[:SAMPLE])


def read_asked(values: Sequence[Any] | pl.Series) -> Read:
    """Read the turns of objects that may have `tools` beside them."""
    plain = [unpadded(value) for value in listed(values)] if isinstance(values, pl.Series) else values
    return read_turns([{k: v for k, v in x.items() if k != "tools"} if isinstance(x, dict) else x for x in plain])


def read_offered(values: Sequence[Any] | pl.Series) -> Read:
    """Read the `tools` of objects; null where a value has none."""
    plain = listed(values) if isinstance(values, pl.Series) else values
    return read_tools([unpadded(value.get("tools")) if isinstance(value, dict) else None for value in plain])


def _holds(value: Any) -> bool:
    """Whether a value holds anything; a list or object of nulls, and the same written as JSON, do not."""
    if isinstance(value, list | dict):
        return any(map(_holds, value.values() if isinstance(value, dict) else value))
    return bool(value) and value not in ("[]", "{}", "null", "None")


Reader = Callable[[Sequence[Any] | pl.Series], Read]
READERS: dict[Kind, Reader] = {
    "text": read_text, "messages": read_messages, "turns": read_turns, "number": read_number, "label": read_label,
    "earlier": read_earlier, "absent": read_absent, "json": read_json, "tools": read_tools,
    "asked": read_asked, "offered": read_offered,
}  # fmt: skip
