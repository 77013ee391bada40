"""Writers for the output of a run: the splits as parquet shards, and the ledger. Written block by block."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.rundir.file_form import CALLS, Present, file_schema, to_file
from curate.schema import LEDGER, PAIR

# A shard is closed beyond this size: with its last row group it stays below the 500 MB that suit the Hub's viewer.
SHARD_BYTES = 450_000_000
_PLAIN: dict[pl.DataType, pa.DataType] = {
    pl.String(): pa.string(),
    pl.UInt32(): pa.uint32(),
    pl.UInt64(): pa.uint64(),
    pl.Float64(): pa.float64(),
    pl.Boolean(): pa.bool_(),
}
_CALLS, _JSON = ("tool_calls", CALLS), pa.list_(pa.json_())


def arrow_schema(schema: pl.Schema) -> pa.Schema:
    """Return the schema with Arrow's basic types (string, list), which every reader supports, not the large ones."""
    return pa.schema([(name, _arrow(dtype)) for name, dtype in schema.items()])


def _arrow(dtype: Any) -> pa.DataType:
    if isinstance(dtype, pl.List):
        return pa.list_(_arrow(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pa.struct([(f.name, _JSON if (f.name, f.dtype) == _CALLS else _arrow(f.dtype)) for f in dtype.fields])
    return _PLAIN[dtype]


def as_table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return a frame as the table that is written."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).select(schema.names).cast(schema)


class TableWriter:
    """One parquet file, with one row group per block."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        self.rows = 0
        self.memory_bytes = 0  # size as Arrow, the num_bytes of a split on the Hub
        self._schema = arrow_schema(schema)
        # Pages are split by content, so that a changed row affects only its own pages: a chunk-based store (the Hub's)
        # recognizes the others.
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        )
        self._path = path

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows."""
        self.write_table(as_table(frame, self._schema))

    def write_table(self, table: pa.Table) -> None:
        """Append the rows of `as_table`."""
        if len(table):
            self._writer.write_table(table)
            self.rows += len(table)
            self.memory_bytes += table.nbytes

    @property
    def bytes(self) -> int:
        """Bytes written to disk so far."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class SplitWriter:
    """The shards of one split, `train-00000-of-00001.parquet` and so on; the total is added to the names at the end."""

    def __init__(self, folder: Path, name: str, schema: pl.Schema = PAIR, fields: Present = frozenset()) -> None:
        self._folder, self._name, self._fields = folder, name, fields
        self._schema = file_schema(fields, schema)
        self._arrow_schema = arrow_schema(self._schema)
        self._shards: list[Path] = []
        self._writer: TableWriter | None = None
        self.rows = 0
        self.memory_bytes = 0

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows of PAIR (or `schema`), with those of the optional `fields` only; a full shard is closed first."""
        self.write_table(self.as_table(frame))

    def as_table(self, frame: pl.DataFrame) -> pa.Table:
        """Return rows in the form in which they are written; several threads may do this."""
        return as_table(to_file(frame, self._fields), self._arrow_schema)

    def write_table(self, table: pa.Table) -> None:
        """Append the rows of `as_table`."""
        if self._writer is not None and self._writer.bytes > SHARD_BYTES:
            self._close_shard()
        if self._writer is None:
            self._shards.append(self._folder / f"{self._name}-{len(self._shards):05}.parquet")
            self._writer = TableWriter(self._shards[-1], self._schema)
        self._writer.write_table(table)
        self.rows += len(table)

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self.memory_bytes += self._writer.memory_bytes
            self._writer = None

    def __enter__(self) -> "SplitWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_shard()
        for number, shard in enumerate(self._shards):
            shard.rename(shard.with_name(f"{self._name}-{number:05}-of-{len(self._shards):05}.parquet"))


def row_groups(path: Path, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """Yield a parquet file by row group; reading by batches would keep much of the file in memory."""
    file = pq.ParquetFile(path)
    for number in range(file.num_row_groups):
        yield pl.DataFrame(file.read_row_group(number, columns=columns))


def ledger_rows(pairs: pl.DataFrame, verdicts: pl.DataFrame, drops: pl.DataFrame, split: pl.Series) -> pl.DataFrame:
    """
    Return the ledger of one block.

    in : a block of pairs; for the same rows the verdicts of the rules (stage, rule, value, reasons), the drops of later
         stages (the same without reasons, plus matched; null = not dropped), and the split
    out: LEDGER, one row per pair. `stage` is the first that dropped the row; later stages only see the remaining rows.
    """
    later = drops.select(*(pl.col(name).alias(f"later_{name}") for name in ("stage", "rule", "value")), "matched")
    rows = pl.concat(
        [pairs.select("source", "source_row", "pair_id"), verdicts, later, split.to_frame()], how="horizontal"
    )
    by_rule, by_later = pl.col("rule").is_not_null(), pl.col("later_rule").is_not_null()
    kept = ~by_rule & ~by_later
    return rows.select(
        "source",
        "source_row",
        "pair_id",
        kept=kept,
        split=pl.when(kept).then("split"),
        stage=pl.when(by_rule).then("stage").otherwise("later_stage"),
        rule=pl.coalesce("rule", "later_rule"),
        value=pl.when(by_rule).then("value").otherwise("later_value"),
        matched="matched",
        reasons=pl.when(by_later).then(pl.concat_list("later_rule")).otherwise("reasons"),
    ).match_to_schema(LEDGER)
