"""The user's paths (files, folders, globs) → a list of named input files."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from curate.errors import InputError

SHIPPED = "shipped:"  # prefix of a file that comes with prefcurate, wherever it is installed
SHIPPED_FILES = Path(__file__).parent / "shipped"
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather")
PACKED = (".gz", ".zst")
NOT_DATA = ("state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json", "stage.json", "manifest.json")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Input:
    """One file. `name` is its name in the ledger: the path relative to the inputs' common folder, never absolute."""

    name: str
    path: Path

    def fingerprint(self) -> str:
        """Return a hash of the file's name, size and modification time. The content is not read."""
        stat = self.path.stat()
        return hashlib.sha256(f"{self.name}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:32]


def find_inputs(paths: Sequence[str], split: str | None = None) -> list[Input]:
    """Return every data file under the paths, in a stable order. Raise InputError for a path without one."""
    files: dict[Path, Path] = {}  # by resolved path, so that a link and its target are read once
    for text in paths:
        found = list(_expand(text, split))
        if not found:
            raise InputError(f"{text} contains no data file. Supported: {', '.join(ENDINGS)}, each also as .gz or .zst")
        for path in found:
            if not path.is_file():
                raise InputError(f"{path} does not exist, or is not a regular file that can be read more than once")
            if not _is_utf8(path):
                raise InputError(f"{path} has a name that is not UTF-8; rename it")
            files.setdefault(path.resolve(), path.parent.resolve() / path.name)  # the Hub cache links to hashes
    shared = Path(os.path.commonpath([path.parent for path in files.values()]))
    return [Input(path.relative_to(shared).as_posix(), path) for path in files.values()]


def _is_utf8(path: Path) -> bool:
    try:
        return bool(str(path).encode())
    except UnicodeEncodeError:
        return False


def _expand(text: str, split: str | None) -> Iterator[Path]:
    if text.startswith(SHIPPED):
        text = str(SHIPPED_FILES / Path(text).name.removeprefix(SHIPPED))
    text = os.path.expanduser(text)  # Path.expanduser raises for an unknown user
    path = Path(text)
    if path.is_dir():
        yield from _folder(path, split)
    elif path.exists():
        yield path
    elif glob.has_magic(text):
        yield from _matching(path)
    else:
        raise InputError(f"{text} does not exist (and is not the id of a Hub dataset, OWNER/NAME)")


def _matching(pattern: Path) -> Iterator[Path]:
    """Yield the files that match a pattern. As in a shell, * does not match a leading dot; ** follows no links."""
    first = next(place for place, part in enumerate(pattern.parts) if glob.has_magic(part))
    start = Path(*pattern.parts[:first])
    rest = [part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in pattern.parts[first:]]
    dotted = any(part.startswith(".") for part in rest)
    for path in sorted(start.glob("/".join(rest))):  # glob.glob would run in circles of links for ever
        hidden = any(part.startswith(".") for part in path.relative_to(start).parts)
        if path.is_file() and (dotted or not hidden):
            yield path


def _folder(folder: Path, split: str | None) -> Iterator[Path]:
    """Yield the files of a run, of a `save_to_disk` folder (one split or several), or of any folder of data files."""
    if (folder / "stages").is_dir() and (folder / "recipe.yaml").is_file():
        yield from _folder(folder / "data", split)
    elif (folder / "dataset_dict.json").is_file():
        names = [Path(name).name for name in _listed(folder / "dataset_dict.json", "splits", str)]
        if split is not None and split not in names:
            raise InputError(f"{folder} has no split {split!r}. It has: {', '.join(names)}")
        for name in [split] if split else names:
            yield from _split(folder / name)
    elif (folder / "state.json").is_file():
        yield from _split(folder)
    else:
        yield from (path for path in sorted(folder.rglob("*")) if _is_data(path.relative_to(folder)) and path.is_file())


def _split(folder: Path) -> Iterator[Path]:
    parts = _listed(folder / "state.json", "_data_files", dict[str, Any])
    yield from (folder / Path(str(part.get("filename"))).name for part in parts)


def _listed(file: Path, name: str, kind: type[T]) -> list[T]:
    """Return a list from a JSON file written by `save_to_disk`."""
    try:
        lists = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        return msgspec.convert(lists.get(name), list[kind])  # type: ignore[valid-type]  # mypy takes `kind` for a value
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} was not written by save_to_disk ({error}); is the folder complete?") from error


def _is_data(path: Path) -> bool:
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return name.endswith(ENDINGS) and name not in NOT_DATA and not hidden


def title(paths: Sequence[str]) -> str:
    """Return a short title for what was read: the first path without folders and extensions."""
    last = Path(paths[0].rstrip("/")).name or paths[0]
    return re.sub(r"(\.(jsonl|ndjson|json|csv|tsv|tab|parquet|arrow|feather|gz|zst))+$", "", last)
