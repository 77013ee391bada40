"""
Hostile inputs through the real command, many per second: a process that has imported it forks a child per attack.

The command withstands an attack if it exits by itself with one of its exit codes and at most one line of error, within
limits of time and memory, writes nothing outside its folder, and connects only to the expected addresses.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from tests.forked import Ended, zygote

CODES = {0, 1, 2, 3, 130}
SECONDS = 60  # per attack, far more than any takes
MEMORY_MB = 2_500
DEFECT = "a bug in prefcurate"


class Done(Ended):
    """How an attack ended."""

    def check(self, *, connects: Sequence[str] = ()) -> Self:
        """Assert that the command withstood the attack."""
        assert self.code in CODES, f"exit code {self.code} after {self.seconds:.0f} s: {self.err[-2000:]}"
        assert "Traceback" not in self.err, self.err[-2000:]
        assert DEFECT not in self.err, self.err
        assert self.memory_mb < MEMORY_MB, f"{self.memory_mb} MB"
        strange = [address for address in self.connects if not any(known in address for known in connects)]
        assert strange == []
        if self.code == 2:
            lines = [line for line in self.err.splitlines() if line.startswith("curate: ")]
            assert len(lines) == 1, self.err
        return self


class Victim:
    """The command, in processes forked from one that has imported it; `preload` adds its lazy imports."""

    def __init__(self, folder: Path, preload: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OPENAI_"))}
        self._env = plain | {"OMP_NUM_THREADS": "1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
        self._zygote = zygote(preload)

    def __call__(
        self, *argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = SECONDS
    ) -> Done:
        ended = self._zygote.run([*map(str, argv)], cwd or self.folder, self._env | dict(env or {}), seconds)
        return Done(**asdict(ended))


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, except under some top-level names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in without
    }


def any_of(*values: Any) -> tuple[Any, ...]:
    """Return values of several types, typed as Any."""
    return values
