"""The fault server and the real command, for tests of one against the other."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pipelines.clients.requests import Request
from tests import forked
from tests.data import write_jsonl
from tests.fault_server import CONTENT

ROOT = Path(__file__).resolve().parents[1]
GOOD = ("answered", *CONTENT)


class FaultServer:
    """`python -m tests.fault_server` with these options; its `url` is unchanged after a restart."""

    def __init__(self, log: Path, *options: str, key: str | None = None) -> None:
        self.log, self._options, self._port = log, options, 0
        self._environment = os.environ | ({"FAULT_SERVER_KEY": key} if key else {})
        log.touch()
        self._lines: list[dict[str, Any]] = []
        self._read = 0  # bytes of the log

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.fault_server", "--log", self.log, "--port", self._port, *self._options]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=self._environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the server did not start"
        self._port = int(self.url.split(":")[2].split("/")[0])

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def control(self, **orders: Any) -> dict[str, int]:
        body = urllib.request.Request(self.url.replace("/v1", "/control"), json.dumps(orders).encode())
        with urllib.request.urlopen(body, timeout=10) as reply:
            found: dict[str, int] = json.load(reply)
        return found

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        """Return what the server did with each request; the last line may be incomplete."""
        with self.log.open("rb") as log:  # only what is new: tests look every few milliseconds
            log.seek(self._read)
            whole = log.read().rpartition(b"\n")[0]
        if whole:
            self._lines += map(json.loads, whole.splitlines())
            self._read += len(whole) + 1
        return self._lines[since:]

    def did(self, since: int = 0) -> Counter[str]:
        return Counter(line["did"] for line in self.lines(since))

    def answers(self) -> Counter[str]:
        """Return how often each request was answered."""
        return Counter(line["key"] for line in self.lines() if line["did"] in GOOD)

    def quiet(self, seconds: float = 0.3, most: float = 30) -> None:
        """Wait until no request has arrived for a while."""
        until, size, last = time.monotonic() + most, -1, 0.0
        while time.monotonic() < until:
            if (now := self.log.stat().st_size) != size:
                size, last = now, time.monotonic()
            elif time.monotonic() - last > seconds:
                return
            time.sleep(0.02)
        raise AssertionError("the server is never quiet")


@contextlib.asynccontextmanager
async def free(request: Request) -> Any:
    """A BudgetHold without any limit."""
    yield lambda sent, got: None


def requests(*texts: str, **params: Any) -> list[Request]:
    return [Request([{"role": "user", "content": text}], {"max_tokens": 50, **params}) for text in texts]


def curate(*arguments: object, key: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the real command in another process."""
    return forked.curate(*arguments, env=environment(key), seconds=timeout, preload=forked.ASKING)


def started(*arguments: object, key: str | None = None) -> "forked.Started | subprocess.Popen[str]":
    """Start the real command in another process."""
    return forked.started(*arguments, env=environment(key), preload=forked.ASKING)


def ended(process: "forked.Started | subprocess.Popen[str]", seconds: float) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a started command."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode is not None
    return subprocess.CompletedProcess([], process.returncode, out, err)


def environment(key: str | None) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return plain | ({"TEST_KEY": key} if key else {})


def prompts(path: Path, count: int, mark: Callable[[int], str] = lambda number: "") -> Path:
    """Write prompts as a JSONL file; `mark` appends a script for the server to each."""
    return write_jsonl(
        path, ({"prompt": f"How do I restore file number {n} from the backup? {mark(n)}".strip()} for n in range(count))
    )
