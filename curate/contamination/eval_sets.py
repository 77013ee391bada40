"""Eval sets, whose items must not be trained on: from a file, the Hub, or the names in `eval_sets.yaml`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from curate.contamination.eval_set import EvalSet
from curate.errors import InputError, unknown
from curate.sources.formats import mapped
from curate.sources.hub import is_hub
from curate.sources.input import Feed, open_feeds
from curate.sources.paths import title
from curate.sources.prompts import read_prompts

NAME = re.compile(r"[\w-]+")  # a name of `eval_sets.yaml`; anything else is a path or a Hub id
DEPTH = 4  # of nested lists and objects that are searched for text
Item = tuple[str, str]  # id and text


@cache
def known_evals() -> Mapping[str, Mapping[str, Any]]:
    """Return the named eval sets: `hub`, and if needed `configs`, `split`, `columns` and `id`."""
    text = (files("curate.contamination") / "eval_sets.yaml").read_text("utf-8")
    listed: Mapping[str, Mapping[str, Any]] = yaml.safe_load(text)
    return listed


def load_eval(
    spec: str,
    *,
    columns: Sequence[str] = (),
    id_column: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    name: str | None = None,
) -> EvalSet:
    """
    Load a named eval set, a path (any file or folder from which prompts can be read), or a Hub id.

    An item's text is the content of the columns, joined by blank lines: strings, lists of strings, or the user turns of
    messages; a dot selects a field of an object. Without columns it is the user turns of the prompt. Without an id
    column ids are row numbers. Arguments take precedence over `eval_sets.yaml`. Raises RecipeError for an unknown name
    or column, and InputError for an unknown path, a row that cannot be read, and a set without text.
    """
    listed = spec.lower().replace("-", "_")
    entry = known_evals().get(listed, {})
    if not entry and NAME.fullmatch(spec) and not Path(spec).exists():
        raise unknown("eval set", spec, known_evals())
    name = name or (listed if entry else spec.removeprefix("hf://datasets/") if is_hub(spec) else title([spec]))
    columns, id_column = columns or entry.get("columns", ()), id_column or entry.get("id")
    items: list[Item] = []
    configs = [config] if config else entry.get("configs", [None])
    for part in configs:
        feeds = open_feeds([entry.get("hub", spec)], split=split or entry.get("split"), config=part, revision=revision)
        for feed in feeds:
            rows = _of_columns(feed, name, columns, id_column) if columns else _of_prompts(feed, name)
            several = "/".join([part] * (len(configs) > 1) + [feed.name] * (len(feeds) > 1))
            items += [(f"{several}/{number}" if several else number, text) for number, text in rows]
    return EvalSet.of(name, [text for _, text in items], [number for number, _ in items])


def _of_prompts(feed: Feed, name: str) -> Iterator[Item]:
    """Yield the user turns of the prompts in the feed."""
    asked = pl.element().filter(pl.element().struct.field("role") == "user").struct.field("content")
    try:
        for block, _ in read_prompts(feed):
            for (detail,) in block.filter(pl.col("problem") == "broken_row").select("detail").rows():
                raise InputError(f"a row cannot be read: {detail}")
            text = pl.col("prompt").list.eval(asked).list.join("\n\n")
            yield from block.select(pl.col("source_row").cast(pl.String), text).drop_nulls().rows()
    except InputError as error:
        # The original hint is about another section of the recipe.
        hint = "Name the columns that contain its text" if error.hint else ""
        raise InputError(f"eval set {name!r}: {error.message}", hint) from error


def _of_columns(feed: Feed, name: str, columns: Sequence[str], id_column: str | None) -> Iterator[Item]:
    """Yield the text of these columns, row by row."""
    wanted = [*columns, *([id_column] if id_column else [])]
    for raw in feed.blocks():
        for row, detail in raw.broken:
            raise InputError(f"eval set {name!r}: row {row} cannot be read: {detail}")
        if not len(raw.source_row):
            continue
        block = mapped.reach(raw, {column: column for column in wanted})
        for column in wanted:
            if column not in block.columns:
                raise unknown(f"column of the eval set {name!r}", column, block.columns)
        ids = block.columns[id_column] if id_column else block.source_row
        for number, *values in zip(ids, *(block.columns[column] for column in columns), strict=True):
            yield str(number), text_of(values)


def text_of(value: Any, depth: int = DEPTH) -> str:
    """Return strings as they are, lists joined by blank lines, user messages' contents; "" for null and others."""
    if isinstance(value, str):
        return value
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, list) and depth:
        return "\n\n".join(filter(None, (text_of(part, depth - 1) for part in value)))
    if isinstance(value, dict) and depth and value.get("role", value.get("from")) in (None, "user", "human"):
        return text_of(value.get("content", value.get("value", value.get("text"))), depth - 1)
    return str(value) if isinstance(value, int | float) else ""
