"""
Our own PAIR table: what a run published, read again. Ids are made anew, source and row are kept as they are.

in : prompt, chosen, rejected: list[message] | pair_id, prompt_id, source, source_row, … as in `schema.PAIR`
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from curate.schema import PAIR
from curate.sources.values import Field, Kind, kind_of

KINDS: dict[str, Kind] = {
    "prompt": "messages",
    "chosen": "messages",
    "rejected": "messages",
    "chosen_score": "number",
    "rejected_score": "number",
    "strength": "number",
    "chosen_model": "label",
    "rejected_model": "label",
}
# Read beside the new ones; the ids only so that they do not count as the source's other columns.
OWN: dict[str, Kind] = {
    "source": "label",
    "source_row": "number",
    "extra": "label",
    "pair_id": "label",
    "prompt_id": "label",
}


def fields(columns: Mapping[str, Sequence[Any] | pl.Series]) -> dict[str, Field] | None:
    """The PAIR columns, all of them and as messages; a set that merely uses some of the names is another shape."""
    if not set(PAIR) <= set(columns) or any(
        kind_of(columns[n]) != "messages" for n in ("prompt", "chosen", "rejected")
    ):
        return None
    measured = {name: Field(name, kind, needed=kind == "messages") for name, kind in KINDS.items()}
    return measured | {f"own_{name}": Field(name, kind, needed=False) for name, kind in OWN.items()}


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Nothing to convert; a row keeps the source and number it had before it was published."""
    return frame.with_columns(
        source="own_source",
        source_row=pl.coalesce(pl.col("own_source_row").cast(pl.UInt64, strict=False), "source_row"),
        extra=pl.coalesce("own_extra", "extra"),
    )
