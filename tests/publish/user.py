"""A user who publishes: the real clients against the loopback Hub, in a separate process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import curate
from curate.recipe.load import Recipe
from curate.rundir.result import Run
from tests import forked
from tests.data import row, write_jsonl
from tests.hub_server import WRITE

SMALL = ("publish.min_train=1", "publish.min_test=0", "publish.max_personal=1")
LICENSED = ("publish.license=mit", "publish.source_license=mit")
# The clients read their settings when they are imported, so they run in a process that takes calls.
PROGRAM = """
import json, sys, time
sleep = time.sleep
time.sleep = lambda seconds: sleep(0.005 * seconds)  # of huggingface_hub between attempts
from curate.errors import CurateError
from curate.publish.export import export
from curate.publish.pull import pull
from curate.publish.push import push
CALLS = {"push": lambda *a, **o: push(*a, **o).to_dict(), "pull": lambda *a, **o: pull(*a, **o).manifest.to_dict()}
for line in sys.stdin:
    name, arguments, options = json.loads(line)
    try:
        answer = CALLS[name](*arguments, **options)
    except CurateError as error:
        answer = {"error": type(error).__name__, "code": error.exit_code, "text": str(error)}
    print(json.dumps(answer), flush=True)
"""
READING = """
import json, sys, datasets
datasets.disable_progress_bars()
for line in sys.stdin:
    found = datasets.load_dataset(*json.loads(line))
    print(json.dumps({name: list(split) for name, split in found.items()}), flush=True)
"""


def environment(url: str, home: Path, token: str | None = WRITE) -> dict[str, str]:
    """Return this process's environment, with these settings of the Hub in place of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    hub = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "PREFCURATE_HUB_WAIT": "0.005"}
    return plain | hub | ({"HF_TOKEN": token} if token else {})


def command(
    url: str, home: Path, *arguments: str | Path, token: str | None = WRITE
) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    return forked.curate(*arguments, env=environment(url, home, token))


class Client:
    """A process that answers calls, a line of JSON each."""

    def __init__(self, program: str, url: str, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment(url, home), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ask(self, call: Any) -> Any:
        """Return the answer to a call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)


class Reader(Client):
    """A process that reads repositories with `datasets.load_dataset`."""

    def __init__(self, url: str, home: Path) -> None:
        super().__init__(READING, url, home)

    def __call__(self, *arguments: str) -> dict[str, list[dict[str, Any]]]:
        """Return the splits as read by `load_dataset` with these arguments."""
        found: dict[str, list[dict[str, Any]]] = self.ask(arguments)
        return found


class User(Client):
    """A process that pushes and pulls on request."""

    def __init__(self, url: str, home: Path) -> None:
        super().__init__(PROGRAM, url, home)

    def push(self, run: Run, repo: str, **options: Any) -> dict[str, Any]:
        """Return the result of `curate.publish.push`, or its error."""
        return self._ask("push", str(run.folder), repo, **options)

    def pull(self, repo: str, out: Path, **options: Any) -> dict[str, Any]:
        """Return the manifest of the run that `curate.publish.pull` fetched, or its error."""
        return self._ask("pull", repo, str(out), **options)

    def _ask(self, name: str, *arguments: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask([name, arguments, options])
        return answer


def make_run(folder: Path, numbers: range, *settings: str) -> Run:
    """Return a licensed run of these rows, most of them in train."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_jsonl(folder / "p.jsonl", [row(number) for number in numbers])
    return curate.clean(source, folder / "RUN", settings=[*SMALL, *LICENSED, *settings])


def with_publish(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with some settings of its publish section changed."""
    return recipe.model_copy(update={"publish": recipe.publish.model_copy(update=changes)})
