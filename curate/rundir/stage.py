"""
A stage of a run: a folder of parquet parts with their checksums, and stage.json, which says that it is complete.

Parts are read many times and by later processes; what is damaged in between is noticed by its checksum.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.files import atomic, digest, remove, write_json

RECORD, SUMS = "stage.json", "sums"
PARTS, SEAL = "sums", "seal"  # keys of stage.json: the checksum of all parts' checksums, and that of its other values


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder of parquet parts and stage.json, which is written last: a stage with it is complete."""

    folder: Path
    key: str

    @property
    def info(self) -> dict[str, Any] | None:
        """What `finish` got, and the key; None while the stage is incomplete. Raise InputError for a damaged file."""
        found = self._record()
        return None if found is None else {name: value for name, value in found.items() if name != PARTS}

    def part(self, number: int) -> Path:
        """Return the path of a part, whether it exists or not."""
        return self.folder / f"part-{number:05}.parquet"

    def parts(self) -> list[Path]:
        """Return the existing parts, in order."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, number: int, frame: pl.DataFrame) -> None:
        """Write one part atomically, then its checksum: a part without one counts as missing."""
        self.note(self.write_part(number, frame))

    def write_part(self, number: int, frame: pl.DataFrame) -> str:
        """Write one part atomically, and return a line for `note`. Parts may be written by processes anywhere."""
        path = self.part(number)
        with atomic(path) as temporary:
            frame.write_parquet(temporary, compression="lz4", statistics=False)  # read again soon, so fast compression
            return f"{path.name} {digest(temporary)}\n"

    def note(self, line: str) -> None:
        """Note the checksum of a part; only the process that runs the stage does."""
        with (self.folder / SUMS).open("a", encoding="ascii") as file:
            file.write(line)

    def finish(self, **info: Any) -> None:
        """Mark the stage complete."""
        found = json.loads(json.dumps({"key": self.key, **info})) | {PARTS: self._all_sums()}
        write_json(self.folder / RECORD, {**found, SEAL: _seal(found)})

    def scan(self, place: str | None = None) -> pl.LazyFrame:
        """Return all parts as one lazy frame, in order; `place` names a column for the numbers of the rows."""
        return pl.scan_parquet(self.parts(), glob=False, row_index_name=place)

    def damaged(self) -> list[Path]:
        """Read all parts; return what is not as it was written: parts, and stage.json if it lacks some."""
        sums = self._sums()
        found = [path for path in self.parts() if sums.get(path.name) != digest(path)]
        try:
            whole = (record := self._record()) is None or record.get(PARTS) == self._all_sums()
        except InputError:
            whole = False
        return found if whole else [*found, self.folder / RECORD]

    def repair(self) -> list[Path]:
        """Remove what is damaged, with stage.json, so that it is made again; return the paths to tell of."""
        damaged = self.damaged()
        told = [path for path in damaged if path.name in self._sums() or path.name == RECORD]  # others: not finished
        for path in [*damaged, *([self.folder / RECORD] if damaged else [])]:
            remove(path)
        return told

    def checked(self) -> "Stage":
        """Return the stage. Raise InputError naming its first damaged file, or if it is not there as a whole."""
        if self.info is None or not self.parts():
            raise InputError(f"{self.folder} is not complete; run the same command again to complete it")
        if damaged := self.damaged():
            raise InputError(f"{damaged[0]} is damaged; run the same command again to make it again")
        return self

    def _record(self) -> dict[str, Any] | None:
        """Return the content of stage.json, apart from its seal."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_bytes())
            sealed = isinstance(found, dict) and found.pop(SEAL, None) == _seal(found)
        except (ValueError, RecursionError):
            sealed = False
        if not sealed:
            raise InputError(f"{path} is damaged; run the same command again to make it again")
        return dict(found)

    def _sums(self) -> dict[str, str]:
        path = self.folder / SUMS
        lines = path.read_bytes().decode("ascii", "replace").splitlines() if path.is_file() else []
        return {name: value for name, _, value in (line.partition(" ") for line in lines)}

    def _all_sums(self) -> str:
        sums = self._sums()
        return hashlib.sha256("".join(sums.get(path.name, "") for path in self.parts()).encode()).hexdigest()


def _seal(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
