"""`--candidates`: every generated or judged answer, as a separate config next to the pairs."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.files import digest
from curate.publish.facts import published_answers
from curate.report.card_header import DEFAULT, Header, config_header, data_folder
from curate.rundir import writers
from curate.rundir.file_form import Present, file_schema, present
from curate.rundir.result import Run
from curate.rundir.store import ANSWERS
from curate.schema import CANDIDATES

NAME = "candidates"
SPLIT = "train"  # the Hub's name for the only split of a config


@dataclass(frozen=True)
class Candidates:
    """The answers of a run, with the name of their config."""

    config: str
    shards: Mapping[Path, str]  # → SHA-256
    counts: Mapping[str, int]  # answers, prompts, judged, failed
    memory_bytes: int
    fields: Present = frozenset()  # optional fields of messages that some answer has

    def places(self, *, appended: bool) -> Iterator[tuple[str, Path, str]]:
        """Yield path in the repository, file, SHA-256. Appended files are named by content, like appended pairs."""
        part = hashlib.sha256("".join(self.shards.values()).encode()).hexdigest()[:12]
        name = f"{SPLIT}-{part}" if appended else SPLIT
        for number, (shard, sha) in enumerate(self.shards.items()):
            yield f"{data_folder(self.config)}/{name}-{number:05}-of-{len(self.shards):05}.parquet", shard, sha

    def header(self) -> Header:
        """Return the header of this config."""
        size = sum(shard.stat().st_size for shard in self.shards)
        return config_header(
            self.config,
            file_schema(self.fields, CANDIDATES),
            {SPLIT: (self.memory_bytes, self.counts["answers"])},
            size,
        )


def name_beside(config: str) -> str:
    """Return the name of the config with the answers to the pairs of `config`."""
    return NAME if config == DEFAULT else f"{config}-{NAME}"


@contextmanager
def opened(run: Run, config: str) -> Iterator[Candidates]:
    """Open the answers of a run whose pairs are `config`. Raise InputError for a run without answers."""
    if ANSWERS not in run.manifest.files:
        raise InputError(f"{run.folder} has no candidates: only a run that generated or judged answers has them")
    with TemporaryDirectory(prefix="prefcurate-") as folder:
        groups = writers.row_groups(run.folder / ANSWERS, ["prompt", "response"])
        fields = frozenset[str]().union(*map(present, groups))
        shards = _shards(run, Path(folder), fields)
        files = [pq.ParquetFile(shard) for shard in shards]
        size = sum(file.read_row_group(number).nbytes for file in files for number in range(file.num_row_groups))
        yield Candidates(name_beside(config), shards, _counts(run.folder / ANSWERS), size, fields)


def _shards(run: Run, folder: Path, fields: Present) -> dict[Path, str]:
    """Write what is published of the run's answers as shards, and return them with their SHA-256."""
    with writers.SplitWriter(folder, SPLIT, CANDIDATES, fields) as writer:
        for group in writers.row_groups(run.folder / ANSWERS):
            writer.write(published_answers(group))
    return {shard: digest(shard) for shard in sorted(folder.iterdir())}


def _counts(file: Path) -> dict[str, int]:
    counted = pl.scan_parquet(file, glob=False).select(
        answers=pl.len(),
        prompts=pl.col("prompt_id").n_unique(),
        judged=pl.col("score").count(),
        failed=pl.col("response").null_count(),
    )
    return counted.collect(engine="streaming").row(0, named=True)
