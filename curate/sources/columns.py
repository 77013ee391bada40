"""Raw values → typed columns: text, messages, numbers, labels. A value of the wrong kind becomes a problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import polars as pl

from curate.errors import InputError
from curate.schema import MESSAGES, ROLES
from curate.sources.raw_block import RawBlock

Kind = Literal["text", "messages", "number", "label"]
# Role names of other tools (ShareGPT and similar formats).
ROLE_NAMES = {role: role for role in ROLES} | {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function": "tool",
}
SAMPLE = 100  # values of a typed column that are looked at to tell its kind
KIND_WORDS = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Field:
    """The raw column that a field is read from, and its kind. A null is a problem if the field is needed."""

    column: str
    kind: Kind
    needed: bool = True


class Problem(Exception):
    """A value that cannot be used: the rule for the ledger, and a description of what was found."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


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
    used = {field.column for field in fields.values()}
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
    sample = _listed(values.drop_nulls().head(SAMPLE)) if isinstance(values, pl.Series) else values
    kind: Kind | None = None
    for value in sample:
        if isinstance(value, str):
            return "text"
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "messages"
        if value == []:
            kind = "messages"
    return kind


def as_json(columns: Mapping[str, Sequence[Any] | pl.Series], height: int) -> pl.Series:
    """Return the column `extra`: each row of the columns as a JSON object."""
    if not columns:
        return pl.Series("extra", [None] * height, dtype=pl.String)
    lists = [_listed(values) if isinstance(values, pl.Series) else values for values in columns.values()]
    names = list(columns)
    encode = msgspec.json.Encoder(enc_hook=str).encode
    rows = (encode(dict(zip(names, row, strict=True))).decode() for row in zip(*lists, strict=True))
    return pl.Series("extra", list(rows), dtype=pl.String)


Read = tuple[pl.Series, dict[int, Problem]]


def read_text(values: Sequence[Any] | pl.Series) -> Read:
    """Read strings; any other value becomes null and a problem (`not_text`)."""
    if isinstance(values, pl.Series):
        if values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return values.cast(pl.String), {}
        values = _listed(values)
    # Checked here because polars takes minutes for one value nested a thousand levels deep.
    problems = {i: _not_text(v) for i, v in enumerate(values) if v is not None and not isinstance(v, str)}
    texts = [v if isinstance(v, str) else None for v in values] if problems else values
    return pl.Series(texts, dtype=pl.String), problems


def read_messages(values: Sequence[Any] | pl.Series) -> Read:
    """Read lists of messages; translate other tools' names of keys and roles, and join text parts."""
    if isinstance(values, pl.Series):
        if _is_plain(values):
            return values.cast(MESSAGES), {}
        values = _listed(values)
    rows: list[list[dict[str, str]] | None] = []
    problems: dict[int, Problem] = {}
    for i, value in enumerate(values):
        try:
            rows.append(None if value is None else [_message(item, place) for place, item in enumerate(_items(value))])
        except Problem as problem:
            rows.append(None)
            problems[i] = problem
    return pl.Series(rows, dtype=MESSAGES), problems


def read_number(values: Sequence[Any] | pl.Series) -> Read:
    """Read numbers, also those written as text; anything else ("N/A"), NaN and infinity become null."""
    if not isinstance(values, pl.Series):
        values = pl.Series(
            [v if isinstance(v, (int, float)) else None if v is None else str(v) for v in values], strict=False
        )
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    try:
        numbers = values.cast(pl.Float64, strict=False)
        return numbers.set(numbers.is_nan() | numbers.is_infinite(), None), {}
    except pl.exceptions.PolarsError as error:
        raise InputError(f"column {values.name!r} has the type {values.dtype}, expected a number") from error


def read_label(values: Sequence[Any] | pl.Series) -> Read:
    """Read labels as text: "model_a", "1" (also for 1.0, which a column of integers with nulls yields), "true"."""
    if isinstance(values, pl.Series):
        values = _listed(values)
    return pl.Series([_label(value) for value in values], dtype=pl.String), {}


READERS = {"text": read_text, "messages": read_messages, "number": read_number, "label": read_label}


def _listed(values: pl.Series) -> list[Any]:
    """Return the values as Python objects; if a date is outside Python's range, return the stored numbers instead."""
    try:
        return values.to_list()
    except (ValueError, pl.exceptions.PanicException):
        return values.to_physical().to_list()


def _label(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def _not_text(value: object) -> Problem:
    return Problem("not_text", f"{KIND_WORDS.get(type(value), type(value).__name__)} where text should be")


def _is_plain(values: pl.Series) -> bool:
    """Whether the values already are list[{role, content}] of known roles, without nulls or empty lists."""
    if not isinstance(values.dtype, pl.List) or not isinstance(values.dtype.inner, pl.Struct):
        return False
    if values.dtype.inner.to_schema() != {"role": pl.String, "content": pl.String}:
        return False
    messages = values.explode(empty_as_null=True, keep_nulls=True).struct
    roles, contents = messages.field("role"), messages.field("content")
    return bool(roles.is_in(ROLES).fill_null(value=False).all()) and contents.null_count() == 0


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Problem("not_messages", f"{KIND_WORDS.get(type(value), type(value).__name__)} where messages should be")
    if not value:
        raise Problem("no_messages", "the list of messages is empty")
    return value


def _message(item: object, place: int) -> dict[str, str]:
    if not isinstance(item, dict):
        raise Problem("not_messages", f"message {place + 1} is {KIND_WORDS.get(type(item), 'null')}, not an object")
    name = item.get("role", item.get("from"))
    role = ROLE_NAMES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        shown = repr(name[:40]) if isinstance(name, str) else KIND_WORDS.get(type(name), "null")
        raise Problem("unknown_role", f"message {place + 1} has the role {shown}; known: {', '.join(ROLES)}")
    return {"role": role, "content": _content(item.get("content", item.get("value")), place)}


def _content(content: object, place: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise Problem("no_content", f"message {place + 1} has no content")
    if not isinstance(content, list):
        raise _not_text(content)
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    other = [str(part.get("type")) if isinstance(part, dict) else str(part) for part in parts if not _is_text(part)]
    if other:
        raise Problem("not_supported", f"message {place + 1} has a part of type {other[0]!r}; only text is supported")
    return "\n".join(part["text"] for part in parts)


def _is_text(part: object) -> bool:
    # Arrow pads parts of other types with nulls: {"type": "text", "text": "…", "image": null}
    return isinstance(part, dict) and part.get("type") in ("text", None) and isinstance(part.get("text"), str)
