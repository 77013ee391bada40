"""Rows that belong together, wherever they are in an input, without holding all of them in memory."""

import io
import tempfile
from collections.abc import Iterator
from typing import IO, Self

import numpy as np
import polars as pl

BUCKET_BYTES = 64 << 20  # rows that are held in memory at once; one group may be larger
MAX_BUCKETS = 200  # open files


class Groups:
    """
    Frames in, the same rows in groups out: all rows with the same key, in the order of each group's first row.

    The rows wait in files without a name, of which nothing remains if the process is killed. In memory are only a hash
    and a size per row (16 bytes). A row without a key is a group of its own.

        with Groups() as groups:
            groups.add(pl.DataFrame({"v": [1, 2]}), pl.Series(["x", "y"]))
            groups.add(pl.DataFrame({"v": [3]}), pl.Series(["x"]))
            list(groups)  # one frame: v 1, 3, 2; group 0, 0, 1
    """

    def __init__(self, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._bucket_bytes = bucket_bytes
        self._files = [_Frames()]
        self._rows = 0
        self._hashes: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []

    def add(self, frame: pl.DataFrame, keys: pl.Series) -> None:
        """Store rows with their keys: str, or null."""
        if not len(frame):
            return
        self._files[0].write(frame, keys)
        rows = pl.int_range(self._rows, self._rows + len(frame), dtype=pl.UInt64, eager=True)
        self._hashes.append(keys.hash().zip_with(keys.is_not_null(), rows).to_numpy())
        self._rows += len(frame)
        self._sizes.append(np.full(len(frame), frame.estimated_size() / len(frame)))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Yield frames of whole groups, with `group`: u32, a number that is unique in its frame."""
        if not self._sizes:
            return
        of_row, buckets = self._plan()
        for file in self._files if buckets == 1 else self._distributed(of_row, buckets):
            whole = pl.concat(file.read(), how="diagonal_relaxed").with_row_index("place")
            # Rows without a key are told apart by their place, which no text contains.
            key = pl.coalesce("key", pl.format("\x00{}", "place"))
            group = pl.col("place").first().over(key).alias("group")
            yield whole.with_columns(group).sort("group", "place").drop("key", "place")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def _plan(self) -> tuple[np.ndarray, int]:
        """Return the bucket of each row, so that groups stay whole and in order, and the number of buckets."""
        hashes, sizes = np.concatenate(self._hashes), np.concatenate(self._sizes)
        size = max(self._bucket_bytes, sizes.sum() / MAX_BUCKETS)
        _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        starts = np.cumsum(np.bincount(group, sizes)[order]) - np.bincount(group, sizes)[order]
        of_group = np.empty(len(order), np.int64)
        of_group[order] = (starts / size).astype(np.int64)
        _, of_row = np.unique(of_group[group], return_inverse=True)  # numbered without gaps
        return of_row, int(of_row.max()) + 1

    def _distributed(self, of_row: np.ndarray, buckets: int) -> "list[_Frames]":
        files = [_Frames() for _ in range(buckets)]
        self._files += files
        start = 0
        for frame in self._files[0].read():
            own = pl.Series("bucket", of_row[start : start + len(frame)])
            start += len(frame)
            parts = frame.with_columns(own).partition_by("bucket", as_dict=True, include_key=False, maintain_order=True)
            for (bucket,), part in parts.items():
                files[bucket].write(part.drop("key"), part.get_column("key"))
        return files


class _Frames:
    """Frames one after another in a file without a name, which is created with the first of them."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._sizes: list[int] = []

    def close(self) -> None:
        if self._file:
            self._file.close()

    def write(self, frame: pl.DataFrame, keys: pl.Series) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - see `close`
        start = self._file.tell()
        frame.with_columns(keys.cast(pl.String).alias("key")).write_ipc(self._file, compression="lz4")
        self._sizes.append(self._file.tell() - start)

    def read(self) -> Iterator[pl.DataFrame]:
        if self._file is None:
            return
        self._file.seek(0)
        for size in self._sizes:
            yield pl.read_ipc(io.BytesIO(self._file.read(size)))
