"""Datasets on the Hugging Face Hub, streamed through `datasets` (extra: hub)."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from curate.errors import CurateError, InputError, ServiceError, require
from curate.sources.raw_block import Bounds, RawBlock, Unpacked
from curate.sources.tables import blocks_of, parquet_batches

HUB_ID = re.compile(r"(?:hf://)?(?:datasets/)?(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^/]+))?(?P<path>/.+)?")
BUILDERS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
ROWS = 2_000  # requested from `datasets` per batch; blocks are split by size afterwards
PATIENCE = 20.0  # seconds to wait for the first response; `datasets` itself would try for minutes


def is_hub(path: str) -> bool:
    """Whether the path is an hf:// address, or OWNER/NAME while no such local path exists."""
    return path.startswith("hf://") or (bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path)) and not Path(path).exists())


@dataclass(frozen=True, slots=True)
class HubDataset:
    """One split of a dataset at one commit, so that the fingerprint identifies the data that is read."""

    repo: str
    path: str | None  # a file in the repository, instead of the whole dataset
    config: str | None
    split: str | None
    commit: str

    @property
    def name(self) -> str:
        """The dataset's name in the ledger."""
        return f"{self.repo}{self.path or ''}{f':{self.split}' if self.split else ''}"

    def fingerprint(self) -> str:
        """Return a hash that changes when the data does."""
        parts = f"{self.repo}|{self.path}|{self.config}|{self.split}|{self.commit}"
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    def blocks(self, bounds: Bounds) -> Iterator[RawBlock]:
        """Stream the rows. Raise InputError or ServiceError."""
        datasets = require("datasets", "hub")
        with _explained(self.name):
            split = self.split or ("train" if self.path else self._only_split())
            if self.path and (builder := _builder(self.path)):
                # Not through the repository: `datasets` refuses one with a loading script, whichever file is requested.
                file = f"hf://datasets/{self.repo}@{self.commit}{self.path}"
                loader = datasets.load_dataset_builder(builder, data_files=file)
            else:
                options = {"data_files": self.path.lstrip("/")} if self.path else {}
                loader = datasets.load_dataset_builder(self.repo, self.config, revision=self.commit, **options)
            files = loader.config.data_files or {}
            if type(loader.config).__name__ == "ParquetConfig" and split in files:
                unpacked = Unpacked(0, bounds)
                yield from blocks_of(_batches(files[split], bounds, unpacked), bounds, unpacked)
                return
            tables = loader.as_streaming_dataset(split=split).with_format("arrow").iter(ROWS)
            yield from blocks_of((batch for table in tables for batch in table.to_batches()), bounds)

    def _only_split(self) -> str:
        datasets = require("datasets", "hub")
        names: list[str] = datasets.get_dataset_split_names(self.repo, self.config, revision=self.commit)
        if "train" in names:
            return "train"
        if len(names) == 1:
            return names[0]
        raise InputError(f"{self.repo} has several splits ({', '.join(names)}); name one with --split")


def find_dataset(text: str, split: str | None, config: str | None, revision: str | None) -> HubDataset:
    """
    Return the dataset at `OWNER/NAME` or `hf://datasets/OWNER/NAME@REVISION/some/file.jsonl`, at its current commit.

    Raise InputError if it does not exist or is not accessible, ServiceError if the Hub does not respond.
    """
    match = HUB_ID.fullmatch(text)
    if match is None:
        raise InputError(
            f"{text} is not the address of a Hub dataset; expected OWNER/NAME or hf://datasets/OWNER/NAME/FILE"
        )
    hub = require("huggingface_hub", "hub")
    with _explained(text):
        info = hub.HfApi().dataset_info(match["repo"], revision=revision or match["revision"], timeout=PATIENCE)
    return HubDataset(match["repo"], match["path"], config, split, info.sha)


@contextmanager
def _explained(text: str) -> Iterator[None]:
    """Translate the clients' exceptions to InputError and ServiceError with one-line messages."""
    errors = require("huggingface_hub.errors", "hub")
    transport = require("httpx2", "hub").TransportError  # huggingface_hub and datasets do not wrap it
    try:
        yield
    except CurateError:
        raise
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, FileNotFoundError, ValueError) as error:
        raise InputError(f"{text}: {_line(error)}") from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        hint = "name one of its files instead: hf://datasets/OWNER/NAME/FILE"
        raise InputError(f"{text} needs its own loading script, which is not run; {hint}") from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, transport, ConnectionError, TimeoutError) as error:
        raise ServiceError(f"the Hub does not respond for {text}: {_line(error)}") from error


def _batches(urls: Iterable[str], bounds: Bounds, unpacked: Unpacked) -> Iterator[pa.RecordBatch]:
    """Yield the batches of parquet files, one after the other; `datasets` would decode whole row groups at once."""
    hub = require("huggingface_hub", "hub").HfFileSystem()
    for url in urls:
        with tempfile.TemporaryFile() as file:
            hub.get_file(url, file)
            file.flush()
            unpacked.size += os.fstat(file.fileno()).st_size
            yield from parquet_batches(file, bounds)


def _builder(path: str) -> str | None:
    """Return the name of the `datasets` builder for files with this extension, or None."""
    plain = path.lower().removesuffix(".gz").removesuffix(".zst")
    return next((name for ending, name in BUILDERS.items() if plain.endswith(ending)), None)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
