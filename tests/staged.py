"""Shared by the tests of sources: raw rows in, STAGED rows out, their messages written as one line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.sources import convert, open_feeds, read
from curate.sources.formats import by_columns, detect
from curate.sources.raw_block import RawBlock

Message = dict[str, str]
Row = dict[str, Any]
TEXTS = ("prompt", "chosen", "rejected")


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def line(messages: list[Message] | None) -> str | None:
    """[{"role": "user", "content": "q"}, …] -> "user: q | assistant: a"."""
    return None if messages is None else " | ".join(f"{m['role']}: {m['content']}" for m in messages)


def block_of(*rows: Mapping[str, Any]) -> RawBlock:
    """Return rows as a raw block like the JSON readers do."""
    names = dict.fromkeys(name for row in rows for name in row)
    return RawBlock({name: [row.get(name) for row in rows] for name in names}, range(len(rows)))


def staged(*rows: Mapping[str, Any], columns: Mapping[str, str] | None = None, **options: Any) -> list[Row]:
    """Return rows as STAGED, row for row."""
    block = block_of(*rows)
    found = by_columns(block, columns, options.get("winners", {})) if columns else detect(block.columns, **options)
    frame = convert(block, found, "s")
    assert frame.get_column("source_row").len() == len(rows)
    return [short(row) for row in frame.rows(named=True)]


def read_all(*paths: Path | str, **options: Any) -> list[Row]:
    """Return everything under the paths as STAGED rows."""
    feeds = open_feeds([str(path) for path in paths])
    frames = [frame for feed in feeds for frame, _ in read(feed, **options)]
    return [short(row) for frame in frames for row in frame.rows(named=True)]


def short(row: Row) -> Row:
    return row | {name: line(row[name]) for name in TEXTS}


def texts(row: Row) -> tuple[str | None, ...]:
    """Return (prompt, chosen, rejected)."""
    return tuple(row[name] for name in TEXTS)


def problem(row: Row) -> tuple[str | None, str | None]:
    """Return (problem, detail); a row with a problem is not a pair, so it has no ids."""
    assert (row["problem"] is None) == (row["pair_id"] is not None) == (row["prompt_id"] is not None)
    return row["problem"], row["detail"]
