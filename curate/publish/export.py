"""`curate export`: a run outside the Hub, locally or in object storage: as on the Hub, JSONL or save_to_disk."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import msgspec
import polars as pl

from curate.errors import InputError, MissingExtra, ServiceError, require, unknown
from curate.files import remove
from curate.publish.bundle import Bundle, published_recipe
from curate.publish.facts import published_facts, published_ledger
from curate.publish.hub import Remote
from curate.report.card_data import read_facts
from curate.rundir.checksums import check_seal
from curate.rundir.file_form import SIDES, fields_in, from_file
from curate.rundir.result import Run, open_run
from curate.rundir.store import DATA, SPLITS, SUMMARY
from curate.rundir.writers import row_groups
from curate.schema.message import chat_message

Form = Literal["parquet", "jsonl", "datasets"]


def export(folder: str | Path, target: str, form: str = "parquet", *, force: bool = False) -> list[str]:
    """
    Write a run to `target`, a local folder or an fsspec URL (s3://…, gs://…); return the files.

    parquet: the files of a push, including the card. jsonl: one file per split. datasets: like `save_to_disk`.
    Raise InputError for a target that is not empty (unless `force`) or an edited run.
    """
    if form not in get_args(Form):
        raise unknown("form", form, get_args(Form))
    run = open_run(folder)
    check_seal(run.folder, run.manifest)
    with _explained(target):
        place = _Place(target)
        if place.files() and not force:
            raise InputError(f"{target} is not empty; choose another target, or use --force")
        return {"parquet": _parquet, "jsonl": _jsonl, "datasets": _datasets}[form](run, place)


class _Place:
    """A folder, local or in object storage."""

    def __init__(self, target: str) -> None:
        self.target = target
        if "://" in target:
            self.system, self.root = require("fsspec", "hub").core.url_to_fs(target)
        else:
            self.system, self.root = None, target

    def files(self) -> list[str]:
        """Return the existing files."""
        if self.system is None:
            folder = Path(self.root)
            if folder.exists() and not folder.is_dir():
                raise InputError(f"{self.root} is a file; the target must be a folder")
            return [str(path) for path in folder.rglob("*")] if folder.exists() else []
        found: list[str] = self.system.find(self.root) if self.system.exists(self.root) else []
        return found

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open a file for writing; a local file is written under a temporary name and renamed at the end."""
        if self.system is not None:
            path = str(PurePosixPath(self.root) / name)
            self.system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
            with self.system.open(path, "wb") as file:
                yield file
            return
        place = Path(self.root) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
            temporary.replace(place)
        finally:
            remove(temporary)


def _parquet(run: Run, place: _Place) -> list[str]:
    facts = published_facts(read_facts(run.folder / SUMMARY))
    with TemporaryDirectory(prefix="prefcurate-") as temporary:
        ledger = published_ledger(run, Path(temporary))
        recipe = published_recipe(run.recipe, run)
        files = Bundle(run, facts, recipe, "OWNER/NAME", rewritten_ledger=ledger).files(Remote())
        for file in files:  # the card is last: an unfinished export has none
            with place.open(file.path) as target:
                if isinstance(file.content, bytes):
                    target.write(file.content)
                else:
                    with file.content.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 22)
    return [file.path for file in files]


def _jsonl(run: Run, place: _Place) -> list[str]:
    names = []
    for split in SPLITS:
        shards = sorted((run.folder / DATA).glob(f"{split}-*.parquet"))
        if shards:
            names.append(f"{split}.jsonl")
            with place.open(names[-1]) as target:
                for shard in shards:
                    for group in row_groups(shard):
                        target.write(_lines(group))
    return names


def _lines(group: pl.DataFrame) -> bytes:
    """Return rows as JSON lines; messages with optional fields have only those that are theirs, calls as objects."""
    if not fields_in(group.schema):
        return group.write_ndjson().encode()
    rows = from_file(group.lazy()).collect().to_dicts()
    for row in rows:
        row |= {side: [chat_message(turn) for turn in row[side]] for side in SIDES}
        row["tools"] = msgspec.json.decode(row["tools"]) if row["tools"] else None
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _datasets(run: Run, place: _Place) -> list[str]:
    data = run.to_datasets()
    options = getattr(place.system, "storage_options", None)
    data.save_to_disk(place.target, storage_options=options) if place.system else data.save_to_disk(place.target)
    return [str(PurePosixPath(path)) for path in sorted(place.files())]


@contextmanager
def _explained(target: str) -> Iterator[None]:
    """Translate exceptions of fsspec and the stores to ours with one-line messages."""
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f"{target}: {' '.join(str(error).split())}") from error
    except NotImplementedError as error:  # http:// and others that can only be read
        raise InputError(f"{target}: nothing can be written to an address of this kind; use s3://…, gs://…") from error
    except ValueError as error:
        raise InputError(f"{target}: {' '.join(str(error).split())[:200]}") from error
    except OSError as error:
        if "://" in target:
            raise ServiceError(f"{target}: {' '.join(str(error).split())[:200]}") from error
        error.filename = error.filename or target
        raise
