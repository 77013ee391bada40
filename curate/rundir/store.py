"""The run directory. Every file is written under a temporary name and then renamed, so no file is ever partial."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from curate.engine import THREADS, Engine
from curate.errors import RecipeError, explained
from curate.files import FILES, OWNER, atomic, check_ours, claim, parse_yaml, remove, write_text
from curate.rundir.manifest import Manifest
from curate.rundir.stage import Stage
from curate.terminal import say

RECIPE, MANIFEST, LEDGER, DATA, STAGES = "recipe.yaml", "manifest.json", "ledger.parquet", "data", "stages"
SUMMARY, CARD, REPORT = "summary.json", "README.md", "report.html"
REQUESTS = "requests.sqlite"  # replies of models
ANSWERS = "candidates.parquet"  # of runs that generate or judge answers
SPLITS = ("train", "validation", "test")
LOCK = ".lock"
# A file of the product; one that was appended on the Hub has its part in the name.
PRODUCT = re.compile(rf"({'|'.join(SPLITS)})-([0-9a-f]{{12}}-)?\d{{5}}-of-\d{{5}}\.parquet")
SHARD = re.compile(rf"\.?({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}\.parquet(\.tmp)?")
# Keys of the recipe's source section that identify the data; changing any other key is an edit of the same run.
DATA_KEYS = ("paths", "split", "config", "revision")


class Store:
    """One run directory, locked while it is open, and the engine on which its stages run."""

    def __init__(self, folder: Path, engine: Engine = THREADS) -> None:
        self.folder, self.engine = folder, engine

    def stage(self, name: str, key: str) -> Stage:
        """
        Return the stage; its folder is emptied first if it was written with another key. What an earlier process wrote
        is checked, and damaged files are removed, so that they are made again.
        """
        stage = Stage(self.folder / STAGES / name, key)
        marker = stage.folder / "key"
        if not marker.is_file() or marker.read_bytes() != key.encode():
            remove(stage.folder)
            write_text(marker, key)
        for path in stage.repair():
            say(f"{path} is damaged and made again")
        return stage


def keep_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Keep the text files that the recipe refers to, by their paths in the run, in place of those of an earlier run."""
    if not contents:
        remove(folder / FILES)
        return
    with atomic(folder / FILES) as temporary:
        temporary.mkdir()
        for path, content in contents.items():
            place = temporary / Path(path).relative_to(FILES)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)


def fingerprint(*parts: Any) -> str:
    """Return a key for plain data: equal data gives equal keys, on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


@contextlib.contextmanager
def open_store(
    folder: Path, recipe: dict[str, Any], recipe_text: str, *, force: bool = False, engine: Engine = THREADS
) -> Iterator[Store]:
    """
    Create the run directory if needed, lock it, and write the recipe into it.

    Raise RecipeError if the folder contains other files, the source itself, or a run of another source (unless
    `force`), or if another process is using it.
    """
    try:
        _check_source(folder, recipe["source"]["paths"])
        if folder.is_dir():  # before a lock is left in a folder of somebody else's
            if (folder / MANIFEST).is_file() and not (folder / OWNER).is_file():
                Manifest.read(folder / MANIFEST)  # raises for a run of version 0.1
            check_ours(folder, "run", beside=(LOCK,))
        with locked(folder):
            claim(folder, "run", beside=(LOCK,))
            _check_place(folder, recipe, force=force)
            (folder / MANIFEST).unlink(missing_ok=True)
            write_text(folder / RECIPE, recipe_text)
            yield Store(folder, engine)
    except OSError as error:
        raise explained(error) or error from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder if needed and lock it. Raise RecipeError if another process uses it, or it cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise RecipeError(f"another process is running in {folder}; wait for it, or choose another --out") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise RecipeError(f"{folder} is a file; --out must be a folder") from error
    except NotImplementedError as error:
        raise RecipeError(f"the disk of {folder} allows no locks; choose an --out on another one") from error
    with held:
        yield


def _check_place(folder: Path, recipe: dict[str, Any], *, force: bool) -> None:
    for name in (DATA, STAGES, FILES):
        if (folder / name).is_symlink():
            raise RecipeError(f"{folder / name} is a link, and what it leads to would be written over; remove the link")
    foreign = [path for path in sorted((folder / DATA).glob("*")) if not SHARD.fullmatch(path.name)]
    if foreign:
        raise RecipeError(f"{foreign[0]} was not written by prefcurate and would be removed; move it out of {folder}")
    has_work = (folder / MANIFEST).is_file() or any((folder / STAGES).glob("*/part-*"))
    if force or not has_work or not (folder / RECIPE).is_file():
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
