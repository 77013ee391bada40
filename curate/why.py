"""Why a row is where it is: its ledger entry, its texts, its signals, and what broke which rule."""

from typing import TYPE_CHECKING, Any

import polars as pl

from curate.errors import InputError
from curate.schema import PAIR
from curate.signals import measure

if TYPE_CHECKING:
    from curate.result import Run

MIN_ID = 6  # letters of a pair_id that are enough to find it


def why(run: "Run", row: int | str, source: str | None = None) -> list[dict[str, Any]]:
    """See `Run.why`."""
    ledger = run.ledger.with_row_index("place")
    text = str(row)
    wanted = pl.lit(value=False)
    if text.isdigit():
        wanted = pl.col("source_row") == int(text)
        wanted = wanted & (pl.col("source") == source) if source else wanted
    elif len(text) >= MIN_ID:
        wanted = pl.col("pair_id").str.starts_with(text.lower())
    found = ledger.filter(wanted).collect()
    if found.is_empty():
        where = f" of {source}" if source else ""
        raise InputError(
            f"no row {text}{where} in {run.folder}: it holds {run.counts['rows']} rows, numbered from 0 in each source "
            f"(a pair_id needs its first {MIN_ID} letters or more)"
        )
    texts = _fetched(run, found) if "pulled" in run.manifest else _staged(run, found)
    return found.join(texts, on="place", how="left", maintain_order="left").drop("place").to_dicts()


def _staged(run: "Run", found: pl.DataFrame) -> pl.DataFrame:
    """Texts and signals of ledger rows, from the stages."""
    places = pl.col("place").is_in(found.get_column("place").to_list())
    pairs = run.stage("pairs").scan().with_row_index("place").filter(places).drop("source", "source_row", "pair_id")
    signals = run.stage("signals").scan().with_row_index("place").filter(places)
    return pairs.collect().join(signals.collect(), on="place", suffix="_signal")


def _fetched(run: "Run", found: pl.DataFrame) -> pl.DataFrame:
    """The same of a published run: texts of the kept rows alone were published, and their signals are measured anew."""
    kept = found.filter("kept").select("place", "pair_id", "source", "source_row")
    ours = pl.concat([run.train, run.test]).join(kept.lazy(), on=["pair_id", "source", "source_row"])
    pairs = ours.collect(engine="streaming")
    signals = measure(pairs.select(list(PAIR)))
    taken = [name for name in signals.columns if name in pairs.columns]
    signals = signals.rename({name: f"{name}_signal" for name in taken})
    return pairs.drop("source", "source_row", "pair_id").with_columns(signals.get_columns())
