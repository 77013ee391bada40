"""Check before appending: pairs that are published already, and prompts that would be in two splits."""

from collections.abc import Iterator

import polars as pl
import pyarrow.parquet as pq

from curate import limits
from curate.errors import InputError
from curate.publish.bundle import Bundle
from curate.publish.gates import Gate
from curate.publish.hub import Hub, Remote
from curate.report.card_header import data_folder
from curate.rundir.store import MANIFEST, SPLITS
from curate.sources.raw_block import megabytes

IDS = ["pair_id", "prompt_id"]


def duplicates(bundle: Bundle, remote: Remote, hub: Hub) -> Gate:
    """Return the gate for appending. Reads only the two id columns of the published shards."""
    if not bundle.appends_to(remote) or f"{bundle.meta(appended=True)}/{MANIFEST}" in remote.files:
        return Gate("duplicates", "passed", "nothing to compare with")
    theirs = {split: _ids(bundle, remote, hub, split) for split in SPLITS}
    ours = {split: bundle.run.split(split).select(IDS).collect() for split in SPLITS}
    published = pl.concat(theirs.values()).select("pair_id")
    again = sum(len(frame.join(published, on="pair_id", how="semi")) for frame in ours.values())
    crossing = sum(
        len(ours[one].join(theirs[other], on="prompt_id", how="semi"))
        for one in SPLITS
        for other in SPLITS
        if one != other
    )
    text = f"{again:,} pairs are published already, {crossing:,} have a prompt that is in another published split"
    return Gate("duplicates", "failed" if again or crossing else "passed", text)


def _ids(bundle: Bundle, remote: Remote, hub: Hub, split: str) -> pl.DataFrame:
    """Return the ids of a published split; none if its shards lack these columns."""
    folder = f"{data_folder(bundle.config)}/{split}-"
    frames = [pl.DataFrame(schema=dict.fromkeys(IDS, pl.String))]
    for path in sorted(path for path in remote.files if path.startswith(folder) and path.endswith(".parquet")):
        with hub.open(path, remote.sha or "") as file:
            table = pq.ParquetFile(file, read_dictionary=IDS)
            if set(IDS) <= set(table.schema_arrow.names):
                frames += _distinct(table, path)
    return pl.concat(frames)


def _distinct(table: pq.ParquetFile, path: str) -> Iterator[pl.DataFrame]:
    """Yield the distinct ids of each batch. Raise InputError for ids that are longer than any of ours."""
    for group in map(table.metadata.row_group, range(table.metadata.num_row_groups)):
        chunks = [group.column(number) for number in range(group.num_columns)]
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in IDS)
        if size > limits.ID_BYTES * group.num_rows + limits.UNPACKED_FREE:
            raise InputError(f"{path} has ids of {megabytes(size)} in {group.num_rows:,} rows: no run wrote it")
    # An Arrow thread may release the Python file object only at interpreter exit, which aborts.
    for batch in table.iter_batches(columns=IDS, use_threads=False):
        yield pl.DataFrame(batch).unique().cast(pl.String)
