"""All decisions → data/ and the ledger, and a check of the counts."""

from contextlib import ExitStack

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.engine import THREADS
from curate.errors import CurateError
from curate.files import atomic
from curate.rundir.file_form import CONFIDENCE, Present, present
from curate.rundir.stage import Stage
from curate.rundir.store import DATA, SPLITS, Store
from curate.rundir.store import LEDGER as LEDGER_FILE
from curate.rundir.writers import SplitWriter, TableWriter, ledger_rows
from curate.schema import LEDGER, OPTIONAL, PAIR
from curate.stages.remaining import Remaining
from curate.terminal import progress


def write_product(store: Store, remaining: Remaining, sides: Stage) -> dict[str, dict[str, int]]:
    """Write the splits and the ledger. Return rows and bytes (as Arrow) of each split, and the rows of the ledger."""
    drops, splits = remaining.dropped, pl.read_parquet(sides.part(0), glob=False)
    with (
        atomic(store.folder / DATA) as data,
        atomic(store.folder / LEDGER_FILE) as ledger_path,
        progress("write", len(remaining.spans)) as advance,
    ):
        data.mkdir()
        ledger = TableWriter(ledger_path, LEDGER)
        with ExitStack() as stack:
            fields = _fields(remaining, splits)
            columns = pl.Schema({**PAIR, **({CONFIDENCE: pl.Float64()} if CONFIDENCE in fields else {})})
            writers = {name: stack.enter_context(SplitWriter(data, name, fields=fields)) for name in SPLITS}
            writers["train"].write(pl.DataFrame(schema=columns))  # a run that keeps no rows still has a train split

            def rows_of(number: int) -> tuple[dict[str, pa.Table], pl.DataFrame]:
                span = remaining.spans[number]
                block = pl.read_parquet(remaining.pairs.part(number), glob=False)
                if CONFIDENCE in fields:
                    signals = pl.read_parquet(remaining.signals.part(number), columns=[CONFIDENCE], glob=False)
                    block = block.with_columns(signals.get_columns())
                verdicts = pl.read_parquet(remaining.rules.part(number), glob=False)
                split = _of_span(splits, *span).get_column("split")
                rows = ledger_rows(block, verdicts, _of_span(drops, *span), split)
                kept = {name: block.filter(rows.get_column("split").eq_missing(name)) for name in SPLITS}
                return {
                    name: writers[name].as_table(some.select(list(columns))) for name, some in kept.items() if len(some)
                }, rows

            for tables, rows in THREADS.map(rows_of, range(len(remaining.spans))):  # the next ones while one is written
                ledger.write(rows)
                for name, table in tables.items():
                    writers[name].write_table(table)
                advance()
        ledger.close()
    return {
        "rows": {name: writer.rows for name, writer in writers.items()} | {"ledger": ledger.rows},
        "bytes": {name: writer.memory_bytes for name, writer in writers.items()},
    }


def _fields(remaining: Remaining, splits: pl.DataFrame) -> Present:
    """Return which optional fields some row of any split has. Of the parts, only these columns are read."""
    found: Present = frozenset()
    for number, span in enumerate(remaining.spans):
        file = pq.ParquetFile(remaining.pairs.part(number))
        names = [column.path for column in file.schema if column.path.rsplit(".", 1)[-1] in (*OPTIONAL, "tools")]
        is_kept = _of_span(splits, *span).get_column("split").is_not_null()
        found |= present(pl.DataFrame(file.read(names)).filter(is_kept))
        signals = pl.scan_parquet(remaining.signals.part(number), glob=False)
        found |= {CONFIDENCE} if signals.select(pl.col(CONFIDENCE).count()).collect().item() else set()
    return found


def _of_span(found: pl.DataFrame, start: int, end: int) -> pl.DataFrame:
    """Return one row for each of the rows start..end, null where `found` has none."""
    rows = pl.DataFrame({"row": pl.Series(range(start, end), dtype=pl.UInt64)})
    return rows.join(found, on="row", how="left", maintain_order="left").drop("row")


def check_counts(counts: dict[str, int], leaks: int) -> None:
    """
    Raise CurateError if rows were lost or duplicated, or similar prompts are in different splits: a bug in prefcurate,
    never a problem of the data.
    """
    if not counts["rows"] == counts["ledger"] == counts["kept"] + counts["dropped"]:
        raise CurateError(f"the counts do not add up, please report this: {counts}")
    if leaks:
        raise CurateError(f"{leaks} near-duplicate prompts are in different splits, please report this: {counts}")
