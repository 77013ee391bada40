"""
Conditions: SQL expressions over a pair, its signals and the source's other columns. Pairs that meet them are kept.

    chosen_model <> 'gpt-4' AND prompt_words > 5
    extra.dataset IN ('helpful_base', 'code') OR length(chosen) < 2000

Polars parses them. Only what looks at one row at a time is allowed, so that a pair's fate depends on no other pair.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, Literal, cast

import msgspec
import polars as pl

from curate.errors import RecipeError, nearest, shortened
from curate.schema import PAIR
from curate.signals import COLUMNS, SIDES, measure, text_of

NAME = re.compile(r"(?!(?:no|min|max|only)_)[a-z][a-z0-9_]{0,59}")  # not that of a bound
NOT_MET = "the condition is not met"
LONGEST = 2000  # characters of a condition
Path = tuple[str, ...]  # of a field in `extra`: ("meta", "lang")
OTHERS_ROWS = "it looks at other rows; a condition may only look at one pair at a time"
SQL_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
RATINGS = ("chosen_scores", "rejected_scores")  # lists of {aspect, score}, of which `.honesty` names one
SAMPLE = 1000  # rows whose keys are listed where a field is unknown


@dataclass(frozen=True, slots=True)
class Where:
    """
    A condition that kept pairs meet; a rule, as `Rule` is.

    A pair for which it is null (a column that it needs is null) is dropped, as in SQL, unless `on_null` is "keep".
    """

    condition: str
    name: str
    about: str  # why, for people
    on_null: Literal["keep", "drop"] = "drop"
    columns: tuple[str, ...] = ()  # that it looks at, `extra` aside
    fields: tuple[Path, ...] = ()  # of `extra` that it looks at
    expression: pl.Expr = field(default=pl.lit(None), repr=False, compare=False)

    def broken(self) -> pl.Expr:
        """Return whether a row does not meet the condition and is dropped; never null. See `with_conditions`."""
        return ~pl.col(self.name).fill_null(value=self.on_null == "keep")

    def value(self) -> pl.Expr:
        """Return null: a condition has no value of its own."""
        return pl.lit(None, pl.Float64)

    def reason(self) -> pl.Expr:
        """Return the name with the condition: `where_1 (prompt_words > 5)`, and whether that is null."""
        unknown = pl.when(pl.col(self.name).is_null()).then(pl.lit(" is null")).otherwise(pl.lit(""))
        return pl.concat_str(pl.lit(f"{self.name} ({' '.join(self.condition.split())}"), unknown, pl.lit(")"))


def make_where(setting: str | Mapping[str, Any], number: int = 1, names: Iterable[str] = ()) -> Where:
    """
    Return the condition of a setting: its text, or {condition, name, reason, on_null}. By default the name of the first
    one is `where_1`.

    `names`: further columns that it may look at. Raises RecipeError for what is no condition, for an unknown column
    (with the nearest one), and for one that looks at other rows.
    """
    given: Mapping[str, Any] = {"condition": setting} if isinstance(setting, str) else setting
    keys = ("condition", "name", "reason", "on_null")
    texts = isinstance(given, Mapping) and all(isinstance(value, str) for value in given.values())
    if not texts or not set(given) <= set(keys) or not given.get("condition", "").strip():
        raise RecipeError(f"where: expected a condition or {{{', '.join(keys)}}}, found {shortened(setting)}")
    condition, on_null = given["condition"].strip(), given.get("on_null", "drop")
    name, known = given.get("name", f"where_{number}"), [*PAIR, *COLUMNS, *names]
    if on_null not in ("keep", "drop"):
        raise RecipeError(f"where: on_null is keep or drop, found {shortened(on_null)}")
    if name in (*known, "row") or not NAME.fullmatch(name):
        what = "lower-case letters, digits and _, and not that of a bound or column"
        raise RecipeError(f"where: a name is {what}, found {shortened(name)}")
    expression, columns, fields = _parsed(condition)
    for column in columns:
        if column not in known:
            others = f" A column of the source is extra.{column}." if _is_name(column) else ""
            raise RecipeError(f"{_shown(condition)}: no column {column!r}.{nearest(column, known)}{others}")
    if not fields and (problem := _problem(expression, columns, {})):  # the types of fields are in the data
        raise RecipeError(f"{_shown(condition)}: {problem}")
    about = given.get("reason", NOT_MET)
    return Where(condition, name, about, on_null, columns, fields, expression)


def with_conditions(
    pairs: pl.DataFrame, signals: pl.DataFrame, conditions: Sequence[Where], types: Mapping[Path, pl.DataType]
) -> pl.DataFrame:
    """
    Return the signals with a column for each condition: whether a pair meets it (bool), null where that is unknown.

    in : a block of PAIR, its signals, `types` of `field_types`
    Raises RecipeError for a condition that the data does not allow, such as a cast of a text that is no number.
    """
    looked_at = pairs.select("source_row", *_pair_columns(conditions, types)).with_columns(signals.get_columns())
    met = []
    for one in conditions:
        try:
            met.append(looked_at.select("source_row", one.expression.alias(one.name)).get_column(one.name))
        except SQL_ERRORS as error:
            raise RecipeError(f"{_shown(one.condition)}: {_line(error)}") from error
    return pl.DataFrame([*signals.get_columns(), *met])


def field_types(conditions: Sequence[Where], blocks: Callable[[], Iterable[pl.DataFrame]]) -> dict[Path, pl.DataType]:
    """
    Return the types of the fields of `extra` that conditions look at: numbers or truth values where all values of the
    data are, else texts. A condition that compares such numbers with a text takes them for texts.

    `blocks` returns a column `extra` (str, JSON objects). Raises RecipeError for a field that no row has (with the
    nearest one), and for a condition that does not fit the types.
    """
    fields = list(dict.fromkeys(path for one in conditions for path in one.fields))
    if not fields:
        return {}
    asked = [fact for number, path in enumerate(fields) for fact in _facts(path, number)]
    facts = [block.select(asked) for block in blocks()]
    rows = pl.concat(facts) if facts else pl.DataFrame()
    types: dict[Path, pl.DataType] = {}
    for number, path in enumerate(fields):
        some, numbers, truths = (rows.get_column(f"{what}{number}").all() for what in ("none", "number", "truth"))
        if some:
            raise RecipeError(f"where: no row has extra.{'.'.join(path)}.{_nearest_field(path, blocks)}")
        types[path] = pl.Boolean() if truths else pl.Float64() if numbers else pl.String()
    for one in conditions:
        own = {path: types[path] for path in one.fields}
        if (problem := _problem(one.expression, one.columns, own)) is None:
            continue
        if _problem(one.expression, one.columns, dict.fromkeys(own, pl.String())) is not None:
            raise RecipeError(f"{_shown(one.condition)}: {problem}")
        types |= dict.fromkeys(own, pl.String())
    return types


def _parsed(condition: str) -> tuple[pl.Expr, tuple[str, ...], tuple[Path, ...]]:
    if len(condition) > LONGEST:
        raise RecipeError(f"{_shown(condition)}: {len(condition):,} characters; expected at most {LONGEST:,}")
    try:
        expression = pl.sql_expr(condition)
        tree = msgspec.json.decode(expression.meta.serialize(format="json"))
    except (*SQL_ERRORS, msgspec.DecodeError, RecursionError) as error:
        raise RecipeError(f"{_shown(condition)}: not a condition in SQL: {_line(error)}") from error
    columns: dict[str, None] = {}
    fields: dict[Path, None] = {}
    try:
        _read(tree, columns, fields)
    except ValueError as error:
        raise RecipeError(f"{_shown(condition)}: {error}") from error
    return expression, tuple(columns), tuple(fields)


def _read(node: Any, columns: dict[str, None], fields: dict[Path, None]) -> None:
    """Collect the columns and the fields of `extra` in an expression. Raise ValueError if it looks at other rows."""
    kind, content = cast(tuple[str, Any], next(iter(node.items())) if isinstance(node, dict) else (node, None))
    if (path := _path(node)) is not None:
        if not path:
            raise ValueError("extra is an object; name a field of it: extra.NAME")
        fields[path] = None
    elif kind == "Column":
        columns[content] = None
    elif kind == "Function":
        if GROWING & _names_in(content["function"]):
            raise ValueError("it makes longer texts; a condition may only compare or shorten them")
        for each in content["input"]:
            _read(each, columns, fields)
    elif kind in INSIDE:
        for name in INSIDE[kind]:
            _read(content[name], columns, fields)
    elif kind != "Literal":
        raise ValueError(OTHERS_ROWS)


# Functions that make texts or lists longer: a few of them, nested, would take all memory.
GROWING = {"PadStart", "PadEnd", "Replace", "Join", "Repeat", "Range"}
# Kinds of expressions that look at one row at a time, and where theirs are; others (sums, subqueries, …) do not.
INSIDE = {"BinaryExpr": ("left", "right"), "Cast": ("expr",), "Ternary": ("predicate", "truthy", "falsy")}


def _names_in(function: Any) -> set[str]:
    """Return the names in the description of a function: its kind, and what it does."""
    if isinstance(function, str):
        return {function}
    return {name for key, inner in function.items() for name in (key, *(inner if isinstance(inner, dict) else ()))}


def _path(node: Any) -> Path | None:
    """Return the path of a field of `extra`, () for `extra` itself, None for anything else."""
    if node == {"Column": "extra"}:
        return ()
    function = node.get("Function") if isinstance(node, dict) else None
    if not function or not isinstance(function["function"], dict):
        return None
    named = function["function"].get("StructExpr")
    if not isinstance(named, dict) or "FieldByName" not in named:
        return None
    before = _path(function["input"][0])
    return None if before is None else (*before, named["FieldByName"])


def _pair_columns(conditions: Sequence[Where], types: Mapping[Path, pl.DataType]) -> list[pl.Expr]:
    """Return the columns of the pair that conditions look at: messages as texts, `extra` as an object of its fields."""
    wanted = {column for one in conditions for column in one.columns}
    columns = [
        text_of(name).alias(name) if name in SIDES else pl.col(name)
        for name in PAIR
        if name in wanted and name not in COLUMNS and name != "source_row"
    ]
    return [*columns, _object(types, ()).alias("extra")] if types else columns


def _object(types: Mapping[Path, pl.DataType], start: Path) -> pl.Expr:
    """Return the fields below a path of `extra` as a struct."""
    names = dict.fromkeys(path[len(start)] for path in types if path[: len(start)] == start and len(path) > len(start))
    values = []
    for name in names:
        path = (*start, name)
        inner = any(len(other) > len(path) and other[: len(path)] == path for other in types)
        values.append((_object(types, path) if inner else _typed(path, types[path])).alias(name))
    return pl.struct(values)


def field_text(path: Path) -> pl.Expr:
    """Return a field of `extra` as a text: a number or an object as JSON writes it; null where there is none."""
    steps = "".join("['" + name.replace("\\", "\\\\").replace("'", "\\'") + "']" for name in path)
    text = pl.col("extra").str.json_path_match(f"${steps}")
    if len(path) == 2 and path[0] in RATINGS and _is_name(path[1]):
        rated = f"$['{path[0]}'][?(@.aspect == '{path[1]}')].score"
        text = pl.coalesce(text, pl.col("extra").str.json_path_match(rated))
    return pl.when(text != "null").then(text)


def _typed(path: Path, dtype: pl.DataType) -> pl.Expr:
    text = field_text(path)
    if dtype == pl.Boolean():
        return text == "true"
    return text.cast(dtype)


def _facts(path: Path, number: int) -> list[pl.Expr]:
    text = field_text(path)
    return [
        text.is_null().all().alias(f"none{number}"),
        text.cast(pl.Float64, strict=False).is_not_null().or_(text.is_null()).all().alias(f"number{number}"),
        text.is_in(["true", "false"]).or_(text.is_null()).all().alias(f"truth{number}"),
    ]


def _nearest_field(path: Path, blocks: Callable[[], Iterable[pl.DataFrame]]) -> str:
    names: dict[str, None] = {}
    for block in islice(blocks(), 1):
        for text in block.get_column("extra").drop_nulls().head(SAMPLE):
            names |= dict.fromkeys(msgspec.json.decode(text))
    return nearest(path[0], list(names)) or (
        f" It has {', '.join(names)}." if names else " The source has no other columns."
    )


@cache
def _schema(_: tuple[str, ...]) -> dict[str, pl.DataType]:
    """The types of all columns that a condition may look at, `extra` aside; by the columns of signals in use."""
    none = pl.DataFrame(schema=PAIR)
    return {**PAIR, **dict.fromkeys(SIDES, pl.String()), **measure(none).schema}


def _problem(expression: pl.Expr, columns: Sequence[str], types: Mapping[Path, pl.DataType]) -> str | None:
    """Return what is wrong with the types in a condition; of columns that are not ours, they are not known."""
    known = _schema(tuple(COLUMNS))
    if not set(columns) <= set(known):
        return None
    empty = pl.DataFrame(schema={**{name: known[name] for name in columns}, "extra": pl.String()})
    try:
        if types:
            empty = empty.with_columns(_object(types, ()).alias("extra"))
        found = empty.select(expression.alias("met")).schema["met"]
    except SQL_ERRORS as error:
        return _line(error)
    return None if found == pl.Boolean() else f"expected true or false for each pair, found {found}"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w{1,60}", text) is not None


def _shown(condition: str) -> str:
    return f"where {shortened(condition)}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).partition("This error occurred")[0].split())[:200]
