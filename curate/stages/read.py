"""Sources → pairs, part by part; an input with too many broken rows is an error."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import limits, sources
from curate.engine import THREADS
from curate.errors import InputError, RecipeError
from curate.files import remove
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.sources.formats import EVAL_SETS
from curate.terminal import progress

if TYPE_CHECKING:
    from curate.recipe.data import Source
    from curate.recipe.load import Recipe

Read = Callable[[sources.Feed], Iterator[tuple[pl.DataFrame, sources.DetectedFormat]]]
FEED = "feed-"  # prefix of the folders into which feeds are read first
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

    return read_rows(store, "pairs", source, read, section, together=True)


def read_rows(store: Store, name: str, source: "Source", read: Read, *more: object, together: bool = False) -> Stage:
    """
    Write the blocks that `read` returns for each input as parts. Raise InputError as `read_pairs` does.

    `more`: other settings on which the rows depend. `together`: several files may be read side by side, since `read`
    remembers nothing of those before.
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
        for folder in stage.folder.glob(f"{FEED}*"):
            remove(folder)
        _read(store, stage, feeds, source, read, together=together)
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


def _read(
    store: Store, stage: Stage, feeds: list[sources.Feed], source: "Source", read: Read, *, together: bool
) -> None:
    tally = _Tally(feeds, source)
    # A file is read by one task; a limit is about the rows in their order.
    together = together and len(feeds) > 1 and source.limit is None and all(feed.path for feed in feeds)
    written = _side_by_side(store, stage, feeds, read) if together else _in_turn(stage, feeds, read, tally)
    with progress("read", source.limit, "rows") as advance:
        for block in written:
            if together:
                tally.add(block)
            advance(block.rows)
    if tally.rows == 0:
        raise InputError(f"{', '.join(source.paths)}: no rows to read")
    stage.finish(inputs=tally.inputs, rows=tally.rows, broken=tally.broken, first_broken=tally.first_broken)


@dataclass(frozen=True)
class _Block:
    """What is counted of a block of rows."""

    name: str  # of its input
    rows: int
    broken: int
    first_broken: tuple[str, ...]
    columns: Mapping[str, Any]
    line: str = ""  # its checksum, where it was written as a part of another stage

    @classmethod
    def of(cls, name: str, frame: pl.DataFrame, found: sources.DetectedFormat) -> "_Block":
        broken = frame.filter(pl.col("problem") == "broken_row").get_column("detail")
        first = tuple(f"{name}: {detail}" for detail in broken.head(SHOWN))
        return cls(name, len(frame), len(broken), first, _columns(found))


class _Tally:
    """Counts blocks; an input of too many broken rows is given up early."""

    def __init__(self, feeds: list[sources.Feed], source: "Source") -> None:
        self._source = source
        self.inputs: dict[str, dict[str, Any]] = {
            feed.name: {"fingerprint": feed.fingerprint, "rows": 0, **_columns(sources.UNKNOWN)} for feed in feeds
        }
        self.first_broken: list[str] = []
        self.rows = self.broken = 0

    def add(self, block: _Block) -> None:
        """Count a block. Raise InputError for too many broken rows."""
        self.rows, self.broken = self.rows + block.rows, self.broken + block.broken
        known = self.inputs[block.name]
        known |= {"rows": known["rows"] + block.rows, **block.columns}
        self.first_broken.extend(block.first_broken[: SHOWN - len(self.first_broken)])
        if self.broken > limits.BAD_ROWS:
            _check(self.rows, self.broken, self.first_broken, self._source)

    @property
    def room(self) -> int | None:
        """How many more rows are wanted; None = all."""
        return None if self._source.limit is None else self._source.limit - self.rows


def _in_turn(stage: Stage, feeds: list[sources.Feed], read: Read, tally: _Tally) -> Iterator[_Block]:
    """Write the blocks of all feeds as parts, one after the other; each is counted before it is written."""

    def counted() -> Iterator[tuple[int, pl.DataFrame, _Block]]:
        blocks = ((feed.name, *found) for feed in feeds for found in read(feed))
        for part, (name, block, found) in enumerate(blocks):
            frame = block if tally.room is None else block.head(tally.room)
            tally.add(counts := _Block.of(name, frame, found))
            yield part, frame, counts
            if tally.room == 0:
                break

    def write(part: tuple[int, pl.DataFrame, _Block]) -> _Block:
        stage.write(*part[:2])
        return part[2]

    return THREADS.map(write, counted())  # the next ones are read while one is written


def _side_by_side(store: Store, stage: Stage, feeds: list[sources.Feed], read: Read) -> Iterator[_Block]:
    """Write the blocks of all feeds as parts, of several feeds at a time, each into a folder of its own first."""
    folders = [Stage(stage.folder / f"{FEED}{number:05}", stage.key) for number in range(len(feeds))]
    part = 0
    for own, blocks in zip(
        folders, store.engine.map(partial(_read_feed, read), zip(folders, feeds, strict=True)), strict=True
    ):
        for number, block in enumerate(blocks):
            own.part(number).rename(stage.part(part))
            stage.note(block.line.replace(own.part(number).name, stage.part(part).name))
            part += 1
            yield block
        remove(own.folder)


def _read_feed(read: Read, task: tuple[Stage, sources.Feed]) -> list[_Block]:
    stage, feed = task
    return [
        replace(_Block.of(feed.name, frame, found), line=stage.write_part(number, frame))
        for number, (frame, found) in enumerate(read(feed))
    ]
