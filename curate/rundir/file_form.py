"""
The form of pairs in files: that of PAIR, with the optional fields that some row of the run has.

Reasoning is `reasoning_content`, the key that chat templates read. `tool_calls` is a list of JSON values (Arrow's JSON
type), which `datasets` decodes to objects: a struct would give every call the arguments of all others, as nulls.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import polars as pl

from curate.schema import MESSAGES, OPTIONAL, PAIR
from curate.schema.message import KEYS

SIDES = ("prompt", "chosen", "rejected")
CALLS = pl.List(pl.String)  # JSON, one text per call
JSON = "Extension('arrow.json', String, '')"  # the name that polars gives to Arrow's type
CONFIDENCE = "label_confidence"  # a column beside those of PAIR, f64
Present = frozenset[str]  # those of OPTIONAL, `tools` and `label_confidence` that some row of a run has


def present(pairs: pl.DataFrame) -> Present:
    """Return which of the optional fields, and of the column `tools`, some row has."""
    found = {"tools"} if "tools" in pairs.columns and pairs.get_column("tools").count() else set()
    for name in (name for name in pairs.columns if isinstance(pairs.schema[name], pl.List)):
        turns = pairs.get_column(name).explode(empty_as_null=False, keep_nulls=False).struct
        found |= {field for field in OPTIONAL if field in turns.fields and turns.field(field).count()}
    return frozenset(found)


def file_schema(fields: Present, schema: pl.Schema = PAIR) -> pl.Schema:
    """Return the schema of files with these optional fields."""
    optional = {
        KEYS.get(name, name): CALLS if name == "tool_calls" else pl.String for name in OPTIONAL if name in fields
    }
    messages = pl.List(pl.Struct({"role": pl.String, "content": pl.String, **optional}))
    columns = {name: messages if dtype == MESSAGES else dtype for name, dtype in schema.items()}
    known: dict[str, Any] = {name: dtype for name, dtype in columns.items() if name != "tools" or "tools" in fields}
    return pl.Schema({**known, **({CONFIDENCE: pl.Float64()} if CONFIDENCE in fields else {})})


def to_file(pairs: pl.DataFrame, fields: Present) -> pl.DataFrame:
    """Return rows in the form of files: PAIR (or another table with messages) -> `file_schema`."""
    schema = file_schema(fields, pairs.schema)
    element = pl.element().struct.field
    known: dict[str, pl.Expr] = {KEYS.get(name, name): element(name) for name in OPTIONAL if name in fields}
    if "tool_calls" in known:
        known["tool_calls"] = element("tool_calls").map_batches(_separate, return_dtype=CALLS)
    message = pl.struct(element("role"), element("content"), *(value.alias(name) for name, value in known.items()))
    return pairs.select(
        pl.col(name).list.eval(message).cast(dtype) if pairs.schema[name] == MESSAGES else name
        for name, dtype in schema.items()
    )


def from_file(frame: pl.LazyFrame, sides: Iterable[str] = SIDES) -> pl.LazyFrame:
    """Return rows of files in our form: `file_schema` -> PAIR; other columns stay. `sides` have messages."""
    found = frame.collect_schema()
    added = [] if "tools" in found or "extra" not in found else [pl.lit(None, pl.String).alias("tools")]
    whole = frame.with_columns(*(_message(name, found[name]) for name in sides), *added)
    ordered = [name for name in PAIR if name in found or (name == "tools" and added)]
    return whole.select(*ordered, *(name for name in found if name not in PAIR))


def _message(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the messages of a file with all optional fields; those that are in our form already stay."""
    if dtype == MESSAGES:
        return pl.col(column)
    fields = set(fields_of(dtype))
    element = pl.element().struct.field
    known = {name: element(KEYS.get(name, name)) for name in OPTIONAL if KEYS.get(name, name) in fields}
    if "tool_calls" in known:
        calls = known["tool_calls"]
        texts = calls.list.eval(pl.element().ext.storage()) if JSON in str(dtype) else calls
        known["tool_calls"] = pl.when(calls.is_not_null()).then(pl.format("[{}]", texts.list.join(",")))
    message = pl.struct(element("role"), element("content"), *(value.alias(name) for name, value in known.items()))
    return pl.col(column).list.eval(message).cast(MESSAGES)


def fields_of(dtype: pl.DataType) -> Iterable[str]:
    """Return the names of the fields of messages; none for any other type."""
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    return inner.to_schema() if isinstance(inner, pl.Struct) else ()


def fields_in(found: pl.Schema) -> Present:
    """Return which optional fields a file has."""
    names = {name for side in SIDES for name in fields_of(found.get(side, pl.Null()))}
    return frozenset(
        {name for name in OPTIONAL if KEYS.get(name, name) in names} | ({"tools", CONFIDENCE} & set(found))
    )


def is_file_schema(found: pl.Schema) -> bool:
    """Whether a file has the columns and types of pairs in one of their forms."""
    return {name: str(dtype) for name, dtype in file_schema(fields_in(found)).items()} == {
        name: str(dtype).replace(JSON, "String") for name, dtype in found.items()
    }


def _separate(calls: pl.Series) -> pl.Series:
    """Return the calls in each JSON array, as they are written there: str -> list[str]."""
    if not calls.count():
        return pl.Series(calls.name, [None] * len(calls), dtype=CALLS)
    decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
    rows = [None if text is None else [bytes(call).decode() for call in decode(text)] for text in calls]
    return pl.Series(calls.name, rows, dtype=CALLS)
