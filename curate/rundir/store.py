"""The run directory. Every file is written under a temporary name and then renamed, so no file is ever partial."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from filelock import FileLock, Timeout

from curate.errors import RecipeError
from curate.files import OWNER, atomic, claim, no_space, parse_yaml, remove, write_json, write_text
from curate.rundir.manifest import Manifest

RECIPE, MANIFEST, LEDGER, DATA, STAGES = "recipe.yaml", "manifest.json", "ledger.parquet", "data", "stages"
SUMMARY, CARD, REPORT = "summary.json", "README.md", "report.html"
ANSWERS = "candidates.parquet"  # of runs that generate or judge answers
SPLITS = ("train", "validation", "test")
LOCK = ".lock"
SHARD = re.compile(rf"\.?({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.parquet(\.tmp)?")
# Keys of the recipe's source section that identify the data; changing any other key is an edit of the same run.
DATA_KEYS = ("paths", "split", "config", "revision")


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder of parquet parts and stage.json, which is written last: a stage with it is complete."""

    folder: Path
    key: str

    @property
    def info(self) -> dict[str, Any] | None:
        """The content of stage.json; None while the stage is incomplete."""
        path = self.folder / "stage.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def part(self, number: int) -> Path:
        """Return the path of a part, whether it exists or not."""
        return self.folder / f"part-{number:05}.parquet"

    def parts(self) -> list[Path]:
        """Return the existing parts, in order."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, number: int, frame: pl.DataFrame) -> None:
        """Write one part atomically."""
        with atomic(self.part(number)) as temporary:
            frame.write_parquet(temporary, compression="lz4", statistics=False)  # read again soon, so fast compression

    def finish(self, **info: Any) -> None:
        """Mark the stage complete."""
        write_json(self.folder / "stage.json", {"key": self.key, **info})

    def scan(self) -> pl.LazyFrame:
        """Return all parts as one lazy frame, in order."""
        return pl.scan_parquet(self.parts())


class Store:
    """One run directory, locked while it is open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, key: str) -> Stage:
        """Return the stage; its folder is emptied first if it was written with another key."""
        stage = Stage(self.folder / STAGES / name, key)
        marker = stage.folder / "key"
        if not marker.is_file() or marker.read_text("utf-8") != key:
            remove(stage.folder)
            write_text(marker, key)
        return stage


def fingerprint(*parts: Any) -> str:
    """Return a key for plain data: equal data gives equal keys, on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def open_store(folder: Path, recipe: dict[str, Any], recipe_text: str, *, force: bool = False) -> Iterator[Store]:
    """
    Create the run directory if needed, lock it, and write the recipe into it.

    Raise RecipeError if the folder contains other files, the source itself, or a run of another source (unless
    `force`), or if another process is using it.
    """
    try:
        _check_source(folder, recipe["source"]["paths"])
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        with lock.acquire(timeout=0):
            if (folder / MANIFEST).is_file() and not (folder / OWNER).is_file():
                Manifest.read(folder / MANIFEST)  # raises for a run of version 0.1
            claim(folder, "run", beside=(LOCK,))
            _check_place(folder, recipe, force=force)
            (folder / MANIFEST).unlink(missing_ok=True)
            write_text(folder / RECIPE, recipe_text)
            yield Store(folder)
    except Timeout as error:
        raise RecipeError(f"another process is running in {folder}; wait for it, or choose another --out") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise RecipeError(f"{folder} is a file; --out must be a folder") from error
    except PermissionError as error:
        raise RecipeError(f"{error.filename or folder} cannot be written: permission denied") from error
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise no_space(folder) from error
        raise


def _check_place(folder: Path, recipe: dict[str, Any], *, force: bool) -> None:
    foreign = [path for path in sorted((folder / DATA).glob("*")) if not SHARD.fullmatch(path.name)]
    if foreign:
        raise RecipeError(f"{foreign[0]} was not written by prefcurate and would be removed; move it out of {folder}")
    if force or not (folder / RECIPE).is_file():
        return
    previous = _source_of(folder / RECIPE)
    if any(previous.get(key) != recipe["source"][key] for key in DATA_KEYS):
        paths = ", ".join(map(str, previous.get("paths", ["?"])))
        raise RecipeError(
            f"{folder} contains a run of another recipe (source: {paths}); choose another --out, or use --force"
        )


def _check_source(folder: Path, paths: Sequence[str]) -> None:
    """Raise RecipeError for a source inside the folder's data: writing the run would replace it."""
    inside = (folder / DATA).resolve()
    for path in paths:  # a glob by the folder in front of it
        fixed = Path(*takewhile(lambda part: not set("*?[") & set(part), Path(path).parts)).resolve()
        if fixed.exists() and (fixed == inside or inside in fixed.parents):
            raise RecipeError(f"the source {path} is inside the run directory {folder}; choose another --out")


def _source_of(recipe: Path) -> dict[str, Any]:
    """Return the source section of a recipe file; empty if it cannot be read."""
    try:
        tree = parse_yaml(recipe.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    source = tree.get("source") if isinstance(tree, dict) else None
    return source if isinstance(source, dict) else {}
