"""Checksums of a finished run, so that only files written by the run are published."""

from collections.abc import Iterator
from pathlib import Path

from curate.errors import InputError
from curate.files import FILES, digest
from curate.rundir.manifest import Manifest
from curate.rundir.store import ANSWERS, CARD, DATA, LEDGER, RECIPE, SUMMARY


def sealed(folder: Path, manifest: Manifest) -> Manifest:
    """Return the manifest with the SHA-256 of every file that may be published, and `seal`, that of its own values."""
    answers = [ANSWERS] if manifest.generation and (folder / ANSWERS).is_file() else []  # else from another recipe
    files = {path: digest(folder / path) for path in (*_sealed(folder), *answers)}
    manifest = manifest.replace(files=files)
    return manifest.replace(seal=manifest.digest())


def check_seal(folder: Path, manifest: Manifest) -> None:
    """Raise InputError naming the first file that differs from what the run wrote."""
    again = "; run the same command again to restore it"
    manifest.check(f"{folder}/manifest.json")
    for path in dict.fromkeys([*manifest.files, *_sealed(folder)]):
        if not (folder / path).is_file():
            raise InputError(f"{folder}/{path} is missing{again}")
        if manifest.files.get(path) != digest(folder / path):
            raise InputError(f"{folder}/{path} was edited after the run{again}")


def _sealed(folder: Path) -> Iterator[str]:
    yield from (f"{DATA}/{file.name}" for file in sorted((folder / DATA).iterdir()))
    yield from (LEDGER, RECIPE, SUMMARY, CARD)
    yield from sorted(path.relative_to(folder).as_posix() for path in (folder / FILES).rglob("*") if path.is_file())
