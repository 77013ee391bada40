"""Sources → pairs, part by part; an input with too many broken rows is an error."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import limits, sources
from curate.engine import THREADS
from curate.errors import InputError, RecipeError
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.sources.formats import EVAL_SETS
from curate.terminal import progress

if TYPE_CHECKING:
    from curate.recipe.data import Source
    from curate.recipe.load import Recipe

Read = Callable[[sources.Feed], Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]]
SHOWN = 3  # broken rows listed in an error


def read_pairs(store: Store, recipe: "Recipe") -> Stage:
    """Read sources as pairs: parts of STAGED. Raise InputError if too many rows are unreadable, or there are none."""
    source = recipe.source
    section = recipe.pair.model_dump() if recipe.pair else {}
    settings = sources.Settings(**section)

    def read(feed: sources.Feed) -> Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]:
        blocks = sources.read(feed, format=source.format, columns=source.columns, winners=source.winners, pair=settings)
        for block, found in blocks:
            if section and found.answers is None and found.fields:
                raise RecipeError(f"pair: {feed.name} has pairs, not answers to form pairs of; remove the section")
            yield block, found

    return read_rows(store, "pairs", source, read, section)


def read_rows(store: Store, name: str, source: "Source", read: Read, *more: object) -> Stage:
    """
    Write the blocks that `read` returns for each input as parts. Raise InputError as `read_pairs` does.

    `more`: other settings on which the rows depend.
    """
    bounds = sources.Bounds(source.max_row_bytes, source.max_unpacked_bytes)
    feeds = sources.open_feeds(
        source.paths, split=source.split, config=source.config, revision=source.revision, bounds=bounds
    )
    settings = source.model_dump(mode="json", exclude={"paths", "max_bad_rows", "max_row_bytes", "max_unpacked_bytes"})
    key = fingerprint(name, sources.VERSION, settings, [(feed.name, feed.fingerprint) for feed in feeds], *more)
    stage = store.stage(name, key)
    if stage.info is None:
        for part in stage.parts():  # of an interrupted run: the last block may have been shortened by a limit
            part.unlink()
        _read(stage, feeds, source, read)
    info = stage.info or {}
    _check(info["rows"], info["broken"], info["first_broken"], source)
    return stage


def _columns(found: sources.DetectedFormat) -> dict[str, Any]:
    """Return the format and which columns went where, for the manifest."""
    used = {name: field.column for name, field in found.fields.items()}
    return {"format": found.name, "is_eval": found.name in EVAL_SETS, "columns": used, "unused": dict(found.unused)}


def _check(rows: int, broken: int, first_broken: list[str], source: "Source") -> None:
    if broken > source.max_bad_rows * rows:
        raise InputError(
            f"{broken} of {rows} rows cannot be read (first: {'; '.join(first_broken)}). "
            f"More than source.max_bad_rows={source.max_bad_rows:g} is an error; raise it to continue without them"
        )


def _read(stage: Stage, feeds: list[sources.Feed], source: "Source", read: Read) -> None:
    inputs: dict[str, dict[str, Any]] = {
        feed.name: {"fingerprint": feed.fingerprint, "rows": 0, **_columns(sources.UNKNOWN)} for feed in feeds
    }
    first_broken: list[str] = []
    rows = broken = 0
    blocks = ((feed.name, *found) for feed in feeds for found in read(feed))

    def counted() -> Iterator[tuple[int, pl.DataFrame]]:
        nonlocal rows, broken
        for part, (name, block, found) in enumerate(blocks):
            frame = block.head(source.limit - rows) if source.limit else block
            unreadable = frame.filter(pl.col("problem") == "broken_row").get_column("detail")
            rows, broken = rows + len(frame), broken + len(unreadable)
            inputs[name] |= {"rows": inputs[name]["rows"] + len(frame), **_columns(found)}
            first_broken.extend(f"{name}: {detail}" for detail in unreadable.head(SHOWN - len(first_broken)))
            if broken > limits.BAD_ROWS:
                _check(rows, broken, first_broken, source)
            yield part, frame
            if source.limit and rows >= source.limit:
                break

    def write(part: tuple[int, pl.DataFrame]) -> int:
        stage.write(*part)
        return len(part[1])

    with progress("read", source.limit, "rows") as advance:
        for written in THREADS.map(write, counted()):  # the next ones are read while one is written
            advance(written)
    if rows == 0:
        raise InputError(f"{', '.join(source.paths)}: no rows to read")
    stage.finish(inputs=inputs, rows=rows, broken=broken, first_broken=first_broken)
