"""Checksums of a finished run, so that only files written by the run are published."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from curate.errors import InputError
from curate.files import FILES
from curate.rundir.manifest import Manifest
from curate.rundir.store import ANSWERS, CARD, DATA, LEDGER, RECIPE, SUMMARY

CHUNK = 1 << 20


def sealed(folder: Path, manifest: Manifest) -> Manifest:
    """Return the manifest with the SHA-256 of every file that may be published, and `seal`, that of its own values."""
    answers = [ANSWERS] if manifest.generation and (folder / ANSWERS).is_file() else []  # else from another recipe
    files = {path: digest(folder / path) for path in (*_sealed(folder), *answers)}
    manifest = manifest.replace(files=files, seal=None)
    return manifest.replace(seal=_of_values(manifest))


def check_seal(folder: Path, manifest: Manifest) -> None:
    """Raise InputError naming the first file that differs from what the run wrote."""
    again = "; run the same command again to restore it"
    if manifest.seal != _of_values(manifest):
        raise InputError(f"{folder}/manifest.json was edited after the run{again}")
    for path in dict.fromkeys([*manifest.files, *_sealed(folder)]):
        if not (folder / path).is_file():
            raise InputError(f"{folder}/{path} is missing{again}")
        if manifest.files.get(path) != digest(folder / path):
            raise InputError(f"{folder}/{path} was edited after the run{again}")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


def _sealed(folder: Path) -> Iterator[str]:
    yield from (f"{DATA}/{file.name}" for file in sorted((folder / DATA).iterdir()))
    yield from (LEDGER, RECIPE, SUMMARY, CARD)
    yield from sorted(path.relative_to(folder).as_posix() for path in (folder / FILES).rglob("*") if path.is_file())


def _of_values(manifest: Manifest) -> str:
    values = manifest.replace(seal=None).to_dict()
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
