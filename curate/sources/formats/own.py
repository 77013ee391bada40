"""
Prefcurate's own PAIR table, as written by a run. Ids are recomputed; source and source_row are kept.

in : prompt, chosen, rejected: list[message] | pair_id, prompt_id, source, source_row, … as in `schema.PAIR`
"""

import msgspec
import polars as pl

from curate.schema import PAIR
from curate.sources.columns import Field, Kind, kind_of
from curate.sources.raw_block import Columns

KINDS: dict[str, Kind] = {
    "prompt": "messages",
    "chosen": "messages",
    "rejected": "messages",
    "chosen_score": "number",
    "rejected_score": "number",
    "strength": "number",
    "chosen_model": "label",
    "rejected_model": "label",
    "tools": "tools",
}
# Read in addition to the new values; the ids only so that they do not end up in `extra`.
OWN: dict[str, Kind] = {
    "source": "label",
    "source_row": "number",
    "extra": "label",
    "pair_id": "label",
    "prompt_id": "label",
}


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields if all PAIR columns are there (but for `tools`) and hold messages, else None."""
    if not set(PAIR) - {"tools"} <= set(columns) or any(
        kind_of(columns[n]) != "messages" for n in ("prompt", "chosen", "rejected")
    ):
        return None
    known = {name: kind for name, kind in KINDS.items() if name in columns}
    measured = {name: Field(name, kind, needed=kind == "messages") for name, kind in known.items()}
    return measured | {f"own_{name}": Field(name, kind, needed=False) for name, kind in OWN.items()}


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Restore the source, row number and `extra` that each row had when it was written."""
    both = pl.col("own_extra").is_not_null() & pl.col("extra").is_not_null()
    joined = [_joined(*row) for row in frame.filter(both).select("own_extra", "extra").rows()]
    extra = frame.select(pl.coalesce("own_extra", "extra")).to_series()
    return frame.with_columns(
        source="own_source",
        source_row=pl.coalesce(pl.col("own_source_row").cast(pl.UInt64, strict=False), "source_row"),
        extra=extra.scatter(frame.select(both.arg_true()).to_series(), joined) if joined else extra,
    )


def _joined(old: str, new: str) -> str:
    """Return `extra` with the columns that were added to the table later; an added column wins on equal names."""
    try:
        columns = msgspec.json.decode(old)
    except (msgspec.DecodeError, RecursionError):
        columns = old
    if not isinstance(columns, dict):  # not a JSON object, so not written by prefcurate
        columns = {"extra": old}
    return msgspec.json.encode(columns | msgspec.json.decode(new)).decode()
