"""
Values of a raw column → texts, messages, turns, numbers or labels. A value of the wrong kind becomes a problem.

Turns are a text, or a conversation in any of the forms in which public datasets write one: a list of messages, a single
message, an object around them ({"messages": […]}), a list of questions with their answers, or any of these as JSON or
as a Python literal in a text. A plain text is one turn without a role, which its place in the pair decides.
"""

import ast
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa

from curate.errors import InputError
from curate.schema import MESSAGES, OPTIONAL, ROLES
from curate.sources.message import KIND_WORDS, Problem, message, not_text, unpadded

AROUND = ("messages", "conversations", "conversation")  # keys of an object around messages
LITERAL = r"^\s*[\[{](?s:.*)[\]}]\s*$"  # how a conversation in a text looks
ROLE_KEYS, CONTENT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")
PLAIN = ("full_text", "text", "content", "value")  # keys of an object around a text
ASKED = {"input": "output", "question": "answer", "prompt": "response", "human": "assistant", "user": "assistant"}
MAX_LITERAL = 1 << 20  # characters of a Python literal, whose parser needs many times as much memory


Read = tuple[pl.Series, dict[int, Problem]]
Turns = Sequence[Mapping[str, str | None]]  # an optional field may be absent


def messages_of(rows: Sequence[Turns | None]) -> pl.Series:
    """Return lists of messages as a column. By way of Arrow: polars takes 20 times as long for dicts in lists."""
    turns = [turn for row in rows if row for turn in row]
    names = ("role", "content", *(OPTIONAL if any(len(turn) > 2 for turn in turns) else ()))
    parts = [pa.array([turn.get(name) for turn in turns], pa.large_string()) for name in names]
    ends = list(accumulate((len(row or ()) for row in rows), initial=0))
    starts = [None if row is None else start for row, start in zip(rows, ends, strict=False)]
    offsets = pa.array([*starts, ends[-1]], pa.int64())
    rows_of = pa.LargeListArray.from_arrays(offsets, pa.StructArray.from_arrays(parts, list(names)))
    return _whole(pl.Series(rows_of))


def read_text(values: Sequence[Any] | pl.Series) -> Read:
    """Read strings; any other value becomes null and a problem (`not_text`)."""
    if isinstance(values, pl.Series):
        if values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return values.cast(pl.String), {}
        values = listed(values)
    # Checked here because polars takes minutes for one value nested a thousand levels deep.
    if holds_texts(values):
        return pl.Series(values, dtype=pl.String), {}
    problems = {i: not_text(v) for i, v in enumerate(values) if v is not None and not isinstance(v, str)}
    return pl.Series([v if isinstance(v, str) else None for v in values], dtype=pl.String), problems


def read_messages(values: Sequence[Any] | pl.Series) -> Read:
    """Read lists of messages; translate other tools' names of keys and roles, and join text parts."""
    if isinstance(values, pl.Series):
        if is_plain(values):
            return _whole(values), {}
        values = _rows(values)
    rows: list[Turns | None] = []
    problems: dict[int, Problem] = {}
    for i, value in enumerate(values):
        try:
            rows.append(None if value is None else [message(item, place) for place, item in enumerate(_items(value))])
        except Problem as problem:
            rows.append(None)
            problems[i] = problem
    return messages_of(rows), problems


def read_turns(values: Sequence[Any] | pl.Series) -> Read:
    """Read texts and conversations as messages; the role of a plain text is null."""
    if isinstance(values, pl.Series):
        if is_plain(values):
            return _whole(values), {}
        if values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return _of_texts(values.cast(pl.String))
        values = _rows(values)
    if holds_texts(values):
        return _of_texts(pl.Series(values, dtype=pl.String))
    rows: list[Turns | None] = []
    problems: dict[int, Problem] = {}
    for place, value in enumerate(values):
        try:
            rows.append(None if value is None else turns(value))
        except Problem as problem:
            rows.append(None)
            problems[place] = problem
    return messages_of(rows), problems


def turns(value: Any) -> list[dict[str, str | None]]:
    """Return the turns of one value. Raises Problem."""
    if isinstance(value, str):
        found = literal(value)
        return [{"role": None, "content": value}] if found is None else turns(found)
    if isinstance(value, dict):
        around = next((key for key in AROUND if isinstance(value.get(key), list)), None)
        if around and value.get("tools"):
            raise Problem("not_supported", "it has tools, which would be lost; only text is supported")
        if around:
            return turns(value[around])
        text = next((value[key] for key in PLAIN if isinstance(value.get(key), str)), None)
        is_text = text is not None and not any(key in value for key in ROLE_KEYS)
        return [{"role": None, "content": text}] if is_text else [dict(message(value, 0))]
    if not isinstance(value, list):
        raise not_text(value)
    if not value:
        raise Problem("no_messages", "the list of messages is empty")
    if all(isinstance(item, str) for item in value):
        if len(value) == 1:
            return [{"role": None, "content": value[0]}]
        raise Problem("not_messages", f"{len(value)} texts in a list; whose turn each one is cannot be told")
    if all(map(_is_exchange, value)):
        return [dict(message(item, place)) for place, item in enumerate(chain.from_iterable(map(_exchange, value)))]
    return [dict(message(item, place)) for place, item in enumerate(value)]


def _is_exchange(item: Any) -> bool:
    """Whether an item is a question with its answer: [question, answer], or an object with two of the keys of ASKED."""
    if isinstance(item, list):
        return len(item) == 2
    return isinstance(item, dict) and "role" not in item and any(a in item and b in item for a, b in ASKED.items())


def _exchange(item: Any) -> list[dict[str, Any]]:
    if isinstance(item, dict):
        asked = next(key for key, said in ASKED.items() if key in item and said in item)
        item = [item[asked], item[ASKED[asked]]]
    return [{"role": "user", "content": item[0]}, {"role": "assistant", "content": item[1]}]


def literal(text: str) -> Any:
    """Return the conversation that a text holds as JSON or as a Python literal; None for any other text."""
    plain = text.strip()
    if plain[:1] + plain[-1:] not in ("[]", "{}"):
        return None
    try:
        found = msgspec.json.decode(plain)
    except (msgspec.DecodeError, RecursionError):
        found = _python(plain) if len(plain) <= MAX_LITERAL and ("'role'" in plain or "'from'" in plain) else None
    return found if _is_conversation(found) else None


def _python(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_conversation(value: Any) -> bool:
    if isinstance(value, dict):
        is_message = any(key in value for key in ROLE_KEYS) and any(
            key in value for key in (*CONTENT_KEYS, "tool_calls")
        )
        return is_message or any(isinstance(value.get(k), list) and _is_conversation(value[k]) for k in AROUND)
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and _is_conversation(v) for v in value)


def _of_texts(texts: pl.Series) -> Read:
    """Read a column of texts, of which only those that look like conversations are decoded one by one."""
    plain = pl.struct(role=pl.lit(None, pl.String), content=pl.col("text"))
    rows = (
        texts.to_frame("text")
        .select(pl.when(pl.col("text").is_not_null()).then(pl.concat_list(plain)).cast(MESSAGES))
        .to_series()
    )
    problems: dict[int, Problem] = {}
    decoded: dict[int, Any] = {}
    for place in texts.str.contains(LITERAL).fill_null(value=False).arg_true():
        try:
            decoded[place] = turns(texts[place])
        except Problem as problem:
            decoded[place] = None
            problems[place] = problem
    if not decoded:
        return rows, problems
    plain_rows = messages_of([decoded.get(place) for place in range(len(rows))])
    is_decoded = pl.Series([place in decoded for place in range(len(rows))])
    return plain_rows.zip_with(is_decoded, rows), problems


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
        values = listed(values)
    labels = values if holds_texts(values) else [_label(value) for value in values]
    return pl.Series(labels, dtype=pl.String), {}


def holds_texts(values: Sequence[Any]) -> bool:
    """Whether all values are texts or null; the types are collected first, in C, since there are few of them."""
    return set(map(type, values)) <= {str, type(None)}


def listed(values: pl.Series) -> list[Any]:
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


def is_plain(values: pl.Series) -> bool:
    """Whether the values already are messages of known roles without optional fields, without nulls or empty lists."""
    if not isinstance(values.dtype, pl.List) or not isinstance(values.dtype.inner, pl.Struct):
        return False
    fields = values.dtype.inner.to_schema()
    texts = {name for name, dtype in fields.items() if dtype == pl.String or (dtype == pl.Null and name in OPTIONAL)}
    if not {"role", "content"} <= texts or not set(fields) == texts <= {"role", "content", *OPTIONAL}:
        return False
    messages = values.explode(empty_as_null=True, keep_nulls=True).struct
    roles, contents = messages.field("role"), messages.field("content")
    if any(messages.field(name).null_count() < len(contents) for name in fields if name in OPTIONAL):
        return False
    return bool(roles.is_in(ROLES).fill_null(value=False).all()) and contents.null_count() == 0


def _whole(values: pl.Series) -> pl.Series:
    """Return messages with all optional fields; a cast of a Series cannot add fields, that of an expression can."""
    return values.to_frame("messages").select(pl.col("messages").cast(MESSAGES)).to_series()


def _rows(values: pl.Series) -> list[Any]:
    """Return messages as Python objects; where they may have calls of tools, without the nulls of Arrow's padding."""
    found = listed(values)
    return [unpadded(row) for row in found] if "_call" in str(values.dtype) else found


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise Problem("not_messages", f"{KIND_WORDS.get(type(value), type(value).__name__)} where messages should be")
    if not value:
        raise Problem("no_messages", "the list of messages is empty")
    return value
