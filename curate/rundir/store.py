"""The run directory: everything is written under a temporary name and renamed, so what is there is whole."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from filelock import FileLock, Timeout

from curate.errors import RecipeError
from curate.files import atomic, no_space, remove, write_json, write_text
from curate.rundir.manifest import Manifest

RECIPE, MANIFEST, LEDGER, DATA, STAGES = "recipe.yaml", "manifest.json", "ledger.parquet", "data", "stages"
SUMMARY, CARD, REPORT = "summary.json", "README.md", "report.html"
ANSWERS = "candidates.parquet"  # of runs that make or judge answers
SPLITS = ("train", "validation", "test")
LOCK = ".lock"
# These of the recipe's source section say what is read; a change of the others is an edit of the same run.
WHAT_IS_READ = ("paths", "split", "config", "revision")


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder of parquet parts and, written last, stage.json: its presence means complete, its key what made it."""

    folder: Path
    key: str

    @property
    def info(self) -> dict[str, Any] | None:
        """What stage.json says; None while the stage is not complete."""
        path = self.folder / "stage.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def part(self, number: int) -> Path:
        """Where a part lies, or will lie."""
        return self.folder / f"part-{number:05}.parquet"

    def parts(self) -> list[Path]:
        """The parts that are there, in order."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, number: int, frame: pl.DataFrame) -> None:
        """Write one part in one step."""
        with atomic(self.part(number)) as temporary:
            frame.write_parquet(temporary, compression="lz4", statistics=False)  # read again soon, so speed counts

    def finish(self, **info: Any) -> None:
        """Mark the stage complete."""
        write_json(self.folder / "stage.json", {"key": self.key, **info})

    def scan(self) -> pl.LazyFrame:
        """All parts as one lazy frame, in order."""
        return pl.scan_parquet(self.parts())


class Store:
    """One run directory, locked while it is open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stage(self, name: str, key: str) -> Stage:
        """The stage's folder, emptied first if another key made what is in it."""
        stage = Stage(self.folder / STAGES / name, key)
        marker = stage.folder / "key"
        if not marker.is_file() or marker.read_text("utf-8") != key:
            remove(stage.folder)
            write_text(marker, key)
        return stage


def fingerprint(*parts: Any) -> str:
    """A key from plain data: equal data, equal key, on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def open_store(folder: Path, recipe: dict[str, Any], recipe_text: str, *, force: bool = False) -> Iterator[Store]:
    """
    Lock the run directory, made if need be, and put the recipe into it.

    Raises RecipeError where something else lies there, or a run of another source (unless `force`), or where another
    process is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        with lock.acquire(timeout=0):
            _check_place(folder, recipe, force=force)
            (folder / MANIFEST).unlink(missing_ok=True)
            write_text(folder / RECIPE, recipe_text)
            yield Store(folder)
    except Timeout as error:
        raise RecipeError(f"another process is at work in {folder}; wait for it, or choose another --out") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise RecipeError(f"{folder} is a file; --out takes a folder") from error
    except PermissionError as error:
        raise RecipeError(f"{error.filename or folder} cannot be written: permission denied") from error
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise no_space(folder) from error
        raise


def _check_place(folder: Path, recipe: dict[str, Any], *, force: bool) -> None:
    if force:
        return
    if not (folder / RECIPE).is_file():
        others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
        if others:
            raise RecipeError(
                f"{folder} is not empty and holds no run ({others[0]}, …); choose another --out, or --force"
            )
        return
    if (folder / MANIFEST).is_file():
        Manifest.read(folder / MANIFEST)  # raises for a run of version 0.1
    there = _source_of(folder / RECIPE)
    if any(there.get(key) != recipe["source"][key] for key in WHAT_IS_READ):
        was = ", ".join(map(str, there.get("paths", ["?"])))
        raise RecipeError(f"{folder} holds a run of another recipe (source: {was}); choose another --out, or --force")


def _source_of(recipe: Path) -> dict[str, Any]:
    """The source section of a recipe file, empty where it is not to be made out."""
    try:
        tree = yaml.safe_load(recipe.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    source = tree.get("source") if isinstance(tree, dict) else None
    return source if isinstance(source, dict) else {}
