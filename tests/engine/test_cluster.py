"""Ray as an engine: a cluster of two nodes on this machine, of one core each, and what dies in it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data import contents, rows, write_jsonl

ray = pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
STORE = 200 << 20  # bytes, for the objects of a node
OWN = """
import polars as pl

LEAST = 1

def teas(text: pl.Expr) -> pl.Expr:
    \"\"\"How often tea is named.\"\"\"
    return text.str.count_matches("tea") * LEAST

def fails(text: pl.Expr) -> pl.Expr:
    \"\"\"Fails on real pairs.\"\"\"
    return pl.when(text.str.len_chars() > 20).then(text.str.to_integer()).otherwise(1)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head without cores and two nodes of one core."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several parts, some with near-duplicate prompts."""
    pairs = rows(3_000)
    for number in range(0, 3_000, 50):
        pairs[number + 1] |= {"prompt": pairs[number]["prompt"].upper()}
    folder = tmp_path_factory.mktemp("source")
    for part in range(6):
        write_jsonl(folder / f"{part}.jsonl", pairs[part * 500 : part * 500 + 500])
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run by threads contains."""
    return cleaned(source, tmp_path_factory.mktemp("threads") / "RUN")


def command(source: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "curate", "clean", str(source), "--out", str(out), "--near", *more]


def cleaned(source: Path, out: Path, *more: str) -> dict[str, bytes]:
    """Run the command; return what the run contains."""
    done = subprocess.run(command(source, out, *more), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return contents(out)


def test_the_same_bytes_from_threads_and_ray(source: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    evals = write_jsonl(tmp_path / "evals.jsonl", [{"prompt": rows(3_000)[1_234]["prompt"]}])
    more = ["--decontaminate", str(evals), "--where", "prompt_words > 1", "--signals", f"{tmp_path}/own.py:teas"]
    more += ["--set", "rules.min_prompt_teas=0"]
    by_threads = cleaned(source, tmp_path / "threads" / "RUN", *more)
    by_ray = cleaned(source, tmp_path / "ray" / "RUN", *more, "--engine", "ray", "--workers", "2")
    assert by_ray == by_threads
    assert b"near_duplicate" in by_ray["report.html"]


def test_a_cluster_gives_the_same_bytes_when_a_node_dies(
    cluster: Any, source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "ray" / "RUN"
    running = subprocess.Popen(
        command(source, out, "--engine", "ray", "--address", cluster.address), stderr=subprocess.PIPE, text=True
    )
    # Added afterwards, since Ray ends a command whose own node dies.
    wait_for(lambda: any((out / "stages" / "pairs").glob("part-*")), running)
    lost = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    wait_for(lambda: any((out / "stages" / "signals").glob("part-*")), running)
    cluster.remove_node(lost)
    _, told = running.communicate(timeout=300)
    assert running.returncode == 0, told
    assert contents(out) == whole


def test_a_killed_command_continues(cluster: Any, source: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    out, moments, killed = tmp_path / "ray" / "RUN", random.Random(3), 0
    options = ("--engine", "ray", "--address", cluster.address)
    for _ in range(2):
        running = subprocess.Popen(command(source, out, *options), stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(2, 9))
        running.send_signal(signal.SIGKILL)
        killed += running.wait(60) != 0
    assert killed
    assert cleaned(source, out, *options) == whole


def test_an_interrupt_ends_everything(source: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        command(source, tmp_path / "RUN", "--engine", "ray"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: any((tmp_path / "RUN" / "stages" / "signals").glob("part-*")), running)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130
    assert told.strip().splitlines()[-1] == "curate: interrupted; the same command continues from where it stopped"
    assert "Traceback" not in told
    wait_for(lambda: not in_session(running.pid))


def test_an_error_of_a_worker_is_that_of_the_library(cluster: Any, source: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    told = [
        failed([*command(source, tmp_path / name / "RUN", "--signals", f"{tmp_path}/own.py:fails"), *more])
        for name, more in (("a", []), ("b", ["--engine", "ray", "--address", cluster.address]))
    ]
    for line in told:
        assert line.startswith("curate: a signal of your own (prompt_fails, chosen_fails, rejected_fails) fails: ")


def test_a_node_with_other_versions_is_refused(tmp_path: Path, source: Path) -> None:
    from ray.cluster_utils import Cluster

    fake = tmp_path / "path" / "rensa-0.0.1.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: rensa\nVersion: 0.0.1\n")
    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    try:
        made.add_node(num_cpus=1, object_store_memory=STORE, env_vars={"PYTHONPATH": str(fake.parent)})
        told = failed(command(source, tmp_path / "RUN", "--engine", "ray", "--address", made.address))
    finally:
        made.shutdown()
    assert "rensa 0.0.1, not 0.5" in told
    assert "install the same versions everywhere" in told


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "engine: there is no Ray cluster at 127.0.0.1:1: [Errno 111] Connection refused"),
        ("ray://x:1", "engine.address: 'ray://x:1' is none; expected auto or HOST:PORT"),
    ],
)
def test_no_cluster_there(source: Path, tmp_path: Path, address: str, told: str) -> None:
    line = failed(command(source, tmp_path / "RUN", "--engine", "ray", "--address", address))
    assert told in line
    assert line.count("\n") == 1


def test_a_missing_ray_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['ray'] = None\n"
        f"import curate; curate.clean([{rows(1)[0]!r}], {str(tmp_path / 'RUN')!r}, settings=['engine.use=ray'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'prefcurate[ray]'" in done.stderr


def failed(arguments: list[str]) -> str:
    """Run a command that fails with 2; return what it says."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    return done.stderr


def wait_for(happened: Any, process: "subprocess.Popen[str] | None" = None, seconds: float = 120) -> None:
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < seconds
        assert process is None or process.poll() is None, "it ended before"
        time.sleep(0.05)


def in_session(session: int) -> list[str]:
    """Return the commands of the processes that still run in a session."""
    found = subprocess.run(["ps", "-e", "-o", "sid=,stat=,args="], capture_output=True, text=True).stdout
    fields = (line.split(None, 2) for line in found.splitlines())
    return [line for line, state, _ in fields if int(line) == session and not state.startswith("Z")]
