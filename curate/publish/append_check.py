"""Before an append: which pairs are there already, and whether a prompt would come to stand in two splits."""

import polars as pl
import pyarrow.parquet as pq

from curate.publish.bundle import Bundle
from curate.publish.gates import Gate
from curate.publish.hub import Hub, Remote
from curate.report.card_header import data_folder
from curate.rundir.store import MANIFEST, SPLITS

IDS = ["pair_id", "prompt_id"]


def duplicates(bundle: Bundle, remote: Remote, hub: Hub) -> Gate:
    """The gate of appends. Reads the two id columns of the published shards, nothing else of them."""
    if not bundle.appends_to(remote) or f"{bundle.meta(appended=True)}/{MANIFEST}" in remote.files:
        return Gate("duplicates", "passed", "nothing to compare with")
    there = {split: _ids(bundle, remote, hub, split) for split in SPLITS}
    ours = {split: bundle.run.split(split).select(IDS).collect() for split in SPLITS}
    published = pl.concat(there.values()).select("pair_id")
    again = sum(len(frame.join(published, on="pair_id", how="semi")) for frame in ours.values())
    crossing = sum(
        len(ours[one].join(there[other], on="prompt_id", how="semi"))
        for one in SPLITS
        for other in SPLITS
        if one != other
    )
    said = f"{again:,} pairs are published already, {crossing:,} have a prompt that stands in another split there"
    return Gate("duplicates", "failed" if again or crossing else "passed", said)


def _ids(bundle: Bundle, remote: Remote, hub: Hub, split: str) -> pl.DataFrame:
    """The ids of a published split; none where its shards have no such columns."""
    folder = f"{data_folder(bundle.config)}/{split}-"
    frames = [pl.DataFrame(schema=dict.fromkeys(IDS, pl.String))]
    for path in sorted(path for path in remote.files if path.startswith(folder) and path.endswith(".parquet")):
        with hub.open(path, remote.sha or "") as file:
            table = pq.ParquetFile(file)
            if set(IDS) <= set(table.schema_arrow.names):
                # Threads of Arrow that read a Python file may still let go of it when Python ends, which aborts.
                frames.append(pl.DataFrame(table.read(IDS, use_threads=False)).cast(pl.String))
    return pl.concat(frames)
