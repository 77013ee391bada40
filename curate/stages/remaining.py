"""Shared by the stages: parallel work on parts, and the pairs that remain at some point of the flow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from curate.dedup.corpus import masked
from curate.dedup.tables import Frames, Texts
from curate.engine import Block, Engine
from curate.rundir.column_sizes import group_bytes, together
from curate.rundir.stage import Stage
from curate.terminal import progress
from curate.text.messages import COMPARED, compared_text

# Rows dropped after the rules, one row per pair; `matched` is the pair_id of another pair, or SET/ITEM.
DROPS = pl.Schema({"row": pl.UInt64(), "rule": pl.String(), "value": pl.Float64(), "matched": pl.String()})


def each_part(
    what: str,
    source: Stage,
    targets: Sequence[Stage],
    make: Callable[[int], Sequence[pl.DataFrame]],
    engine: Engine,
    **info: Callable[[], Any],
) -> None:
    """
    Write every missing part, several at a time: `make` returns that of each target, of which the first decides what is
    missing and gets `info`, evaluated when all parts exist.
    """
    target, *beside = targets
    if target.info is not None:
        return
    parts = len(source.parts())
    todo = [number for number in range(parts) if not target.part(number).is_file()]
    with progress(what, parts) as advance:
        advance(parts - len(todo))
        for lines in engine.map(partial(_write_parts, [*beside, target], make), todo):
            for stage, line in zip([*beside, target], lines, strict=True):
                stage.note(line)
            advance()
    target.finish(parts=parts, **{name: value() for name, value in info.items()})


def _write_parts(targets: Sequence[Stage], make: Callable[[int], Sequence[pl.DataFrame]], number: int) -> list[str]:
    first, *others = make(number)
    return [stage.write_part(number, frame) for stage, frame in zip(targets, [*others, first], strict=True)]


@dataclass(frozen=True)
class Remaining:
    """The pairs that remain at some point of the flow. A row is its position in all parts of `pairs`, from 0."""

    pairs: Stage
    signals: Stage
    rules: Stage
    drops: Mapping[str, Stage] = field(default_factory=dict)  # stages of DROPS, in the order of the flow

    @property
    def key(self) -> str:
        """The key of the last stage that dropped rows."""
        return [self.rules, *self.drops.values()][-1].key

    def drop(self, name: str, stage: Stage) -> "Remaining":
        """Return the pairs that remain after one more stage of DROPS."""
        return replace(self, drops={**self.drops, name: stage})

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The first row of each part, and the row after its last."""
        return list(pairwise(accumulate((one.num_rows for one in self._metadata), initial=0)))

    @cached_property
    def _metadata(self) -> list[pq.FileMetaData]:
        return [pq.read_metadata(part) for part in self.pairs.parts()]

    @cached_property
    def dropped(self) -> pl.DataFrame:
        """DROPS of all stages, with `stage`."""
        none = pl.DataFrame(schema={**DROPS, "stage": pl.String()})
        found = (stage.scan().collect().with_columns(stage=pl.lit(name)) for name, stage in self.drops.items())
        return pl.concat([none, *found])

    @cached_property
    def mask(self) -> pl.Series:
        """bool, one per row: whether it remains."""
        passed = self.rules.scan().select(pl.col("rule").is_null()).collect(engine="streaming").to_series()
        mask = passed.to_numpy(writable=True)
        mask[self.dropped.get_column("row").to_numpy()] = False
        return pl.Series("remaining", mask)

    @cached_property
    def rows(self) -> np.ndarray:
        """The remaining rows, ascending."""
        return np.flatnonzero(self.mask.to_numpy())

    def frame(self, *columns: str) -> pl.DataFrame:
        """Return `row` (u64) and columns of the pairs or signals, for the remaining rows."""
        stages = {"pairs": self.pairs.scan(), "signals": self.signals.scan()}
        known = {name: set(stage.collect_schema()) for name, stage in stages.items()}
        parts = [pl.LazyFrame(self.mask.to_frame())]
        taken: set[str] = set()
        for name, stage in stages.items():
            wanted = [column for column in columns if column in known[name] - taken]
            taken |= set(wanted)
            parts += [stage.select(wanted)] if wanted else []
        together = pl.concat(parts, how="horizontal").with_row_index("row").filter("remaining").drop("remaining")
        return together.with_columns(pl.col("row").cast(pl.UInt64)).collect(engine="streaming")

    def blocks(self, columns: tuple[str, ...]) -> Frames:
        """Return columns of the remaining pairs, a block per part."""
        return [
            Block(int(mask.sum()), partial(_read_remaining, self.pairs.part(number), columns, mask))
            for number, mask in enumerate(self._masks(self.mask))
        ]

    def sides(self, columns: tuple[str, ...]) -> Frames:
        """Return columns of all pairs, a block per run of parts; a row that does not remain is null."""
        runs = together(sum(group_bytes(one, columns)) for one in self._metadata)
        masks = [self.mask[self.spans[run.start][0] : self.spans[run.stop - 1][1]] for run in runs]
        return [
            Block(len(mask), partial(_read_masked, [self.pairs.part(number) for number in run], columns, mask))
            for run, mask in zip(runs, masks, strict=True)
        ]

    def texts(self, compare: str, rows: pl.Series | None = None) -> Texts:
        """
        Return the text of every row, a block per part. Rows that do not remain (or are not in the mask `rows`) are
        null, so that the position of a text is its row.
        """
        return [
            Block(len(mask), partial(_read_text, self.pairs.part(number), compare, mask))
            for number, mask in enumerate(self._masks(self.mask if rows is None else rows))
        ]

    def _masks(self, mask: pl.Series) -> list[pl.Series]:
        return [mask.slice(start, stop - start) for start, stop in self.spans]


def _read_remaining(part: Path, columns: tuple[str, ...], mask: pl.Series) -> pl.DataFrame:
    return pl.read_parquet(part, columns=list(columns), glob=False).filter(mask)


def _read_masked(parts: list[Path], columns: tuple[str, ...], mask: pl.Series) -> pl.DataFrame:
    return masked(pl.read_parquet(parts, columns=list(columns), glob=False), mask)


def _read_text(part: Path, compare: str, mask: pl.Series) -> pl.Series:
    text = pl.when(mask).then(compared_text(compare))
    return pl.read_parquet(part, columns=list(COMPARED[compare]), glob=False).select(text=text).to_series()


def best_of(keep: str) -> str | None:
    """Return the column for a recipe's `keep` or `by`; None for "first"."""
    return {"first": None, "longest": "chosen_chars"}.get(keep, keep)


def with_matched(duplicates: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """
    Return duplicates as DROPS, with the pair_id of the matched row.

    in : DUPLICATES; row, pair_id of every row that may be matched
    out: DROPS
    """
    matched = ids.select(duplicate_of="row", matched="pair_id")
    return duplicates.join(matched, on="duplicate_of", how="left", maintain_order="left").select(list(DROPS))
