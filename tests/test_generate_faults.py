"""`curate generate` against a failing endpoint: exit codes, one-line messages, paid answers are kept."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.clients.cache import RequestCache
from tests.faults import FaultServer, curate, ended, prompts, started

pytestmark = pytest.mark.slow


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., FaultServer]]:
    """Start a server with these options; it is stopped at the end of the test."""
    running: list[FaultServer] = []

    def start(*options: str, key: str | None = None) -> FaultServer:
        server = FaultServer(tmp_path / "server.log", *options, key=key)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def recipe(folder: Path, server: FaultServer, count: int = 20, *, budget: Any = None, n: int = 1, **model: Any) -> Path:
    """Write a recipe for `count` prompts and one model with little patience."""
    source = prompts(folder / "prompts.jsonl", count)
    about = {"model": "openai:test", "base_url": server.url, "timeout": 1, "patience": 5, **model}
    tree = {
        "source": {"paths": str(source)},
        "generate": {"models": [about], "n": n, "max_tokens": 32, "retry_cut": 1},
        **({"budget": budget} if budget else {}),
    }
    (folder / "recipe.yaml").write_text(json.dumps(tree))
    return folder / "recipe.yaml"


def stored(run: Path) -> int:
    with RequestCache(run / "requests.sqlite") as cache:
        return sum(requests for requests, _, _ in cache.spent().values())


def check_line(done: "subprocess.CompletedProcess[str]", code: int, said: str) -> None:
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("curate: ")
    assert "Traceback" not in done.stderr + done.stdout
    assert "bug" not in done.stderr


def holding(folder: Path, secret: str) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def test_a_wrong_key_stops_at_once_and_is_in_no_file(tmp_path: Path, serve: Callable[..., FaultServer]) -> None:
    server = serve(key="sk-the-right-one")
    yaml = recipe(tmp_path, server, 300, api_key_env="TEST_KEY", patience=300)
    begun = time.monotonic()
    done = curate("generate", yaml, "-o", tmp_path / "RUN", key="sk-plantedtoken0123456789")
    assert time.monotonic() - begun < 30
    check_line(done, 3, "the key was refused (401); set TEST_KEY to a valid one")
    assert server.did()["401"] <= 32
    right = curate("--debug", "generate", yaml, "-o", tmp_path / "RUN", key="sk-plantedtoken0123456789")
    assert right.returncode == 3
    assert curate("generate", yaml, "-o", tmp_path / "RUN", key="sk-the-right-one").returncode == 0
    for secret in ("plantedtoken", "the-right-one"):
        assert secret not in done.stderr + done.stdout + right.stderr + right.stdout
        assert holding(tmp_path, secret) == []


def test_an_unknown_model_names_the_nearest(tmp_path: Path, serve: Callable[..., FaultServer]) -> None:
    server = serve("--models", "tset,llama")
    done = curate("generate", recipe(tmp_path, server), "-o", tmp_path / "RUN")
    check_line(done, 2, "Did you mean 'tset'? Known there: tset, llama.")
    assert server.did()["404"] <= 32


def test_an_endpoint_that_dies_and_comes_back(tmp_path: Path, serve: Callable[..., FaultServer]) -> None:
    server = serve("--delay", "0.05")
    yaml = recipe(tmp_path, server, 120, n=2, concurrency=4, patience=60)
    process = started("generate", yaml, "-o", tmp_path / "RUN")
    while server.answers().total() < 40:
        time.sleep(0.02)
    server.control(dead_for=2)
    done = ended(process, 90)
    assert (done.returncode, done.stderr) == (0, "")
    answers = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert answers.get_column("response").null_count() == 0
    assert len(server.answers()) == 240


def test_a_dead_endpoint_stops_the_run_and_the_same_command_continues(
    tmp_path: Path, serve: Callable[..., FaultServer]
) -> None:
    server = serve("--delay", "0.05")
    yaml = recipe(tmp_path, server, 100, n=2, concurrency=4, patience=2)
    process = started("generate", yaml, "-o", tmp_path / "RUN")
    while server.answers().total() < 40:
        time.sleep(0.02)
    server.control(hold_after=0)  # nothing is partially sent when it dies
    server.quiet()
    server.stop()
    check_line(ended(process, 60), 3, f"test at {server.url}: no answer for ")
    kept = stored(tmp_path / "RUN")
    assert kept == server.answers().total() >= 40
    server.start()
    assert curate("generate", yaml, "-o", tmp_path / "RUN").returncode == 0
    assert set(server.answers().values()) == {1}
    assert len(server.answers()) == 200


@pytest.mark.parametrize("unit", ["tokens", "usd"])
def test_a_budget_is_not_exceeded_and_raising_it_continues(
    tmp_path: Path, serve: Callable[..., FaultServer], unit: str
) -> None:
    """The server counts the tokens, including those of unusable replies."""
    shares = [f"--share={fault}=0.04" for fault in ("cut", "garbled", "no_choice", "null", "empty", "drop", "500")]
    server = serve(*shares, "--delay", "0.01")
    prices = {"input_price": 100, "output_price": 300, "timeout": 1, "patience": 60, "concurrency": 8}

    def spent() -> float:
        used = [line["usage"] for line in server.lines() if "usage" in line]
        sent, got = (sum(use[name] for use in used) for name in ("prompt_tokens", "completion_tokens"))
        return float(sent + got) if unit == "tokens" else (100 * sent + 300 * got) / 1e6

    low, high = (2_000, 100_000) if unit == "tokens" else (0.4, 20)
    yaml = recipe(tmp_path, server, 80, n=2, budget={unit: low}, **prices)
    done = curate("generate", yaml, "-o", tmp_path / "RUN")
    assert done.returncode == 1
    assert "stopped at the budget: " in done.stderr
    assert "raise budget" in done.stderr
    assert "Traceback" not in done.stderr
    assert 0.6 * low < spent() <= low
    kept = stored(tmp_path / "RUN")
    assert kept > 10
    again = curate("generate", yaml, "-o", tmp_path / "RUN")  # no budget is left, so nothing is requested
    assert again.returncode == 1
    assert spent() <= low
    assert stored(tmp_path / "RUN") >= kept
    recipe(tmp_path, server, 80, n=2, budget={unit: high}, **prices)
    assert curate("generate", yaml, "-o", tmp_path / "RUN").returncode == 0
    assert len(server.answers()) == 160
    assert spent() <= high


def test_a_broken_cache_is_a_one_line_error(tmp_path: Path, serve: Callable[..., FaultServer]) -> None:
    yaml = recipe(tmp_path, serve())
    assert curate("generate", yaml, "-o", tmp_path / "RUN").returncode == 0
    (tmp_path / "RUN" / "requests.sqlite").write_bytes(b"no database at all, not even nearly" * 300)
    check_line(curate("generate", yaml, "-o", tmp_path / "RUN"), 2, "requests.sqlite cannot be used as a request cache")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_gives_one_line_and_the_run_can_be_continued(
    tmp_path: Path, serve: Callable[..., FaultServer]
) -> None:
    server = serve()
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        yaml = recipe(tmp_path, server, 400, n=4, concurrency=4)
        check_line(curate("generate", yaml, "-o", disk / "RUN"), 2, "no space left on the disk")
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        kept = stored(disk / "RUN")
        assert kept > 20
        since = len(server.lines())
        assert curate("generate", yaml, "-o", disk / "RUN").returncode == 0
        assert len(server.lines()) - since == 1_600 - kept
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("options", [(), ("--no-format",)])
def test_a_judge_with_unusable_replies_is_asked_once_more_and_then_has_no_verdict(
    tmp_path: Path, serve: Callable[..., FaultServer], options: tuple[str, ...]
) -> None:
    """Also if the endpoint cannot enforce the reply format: then only the prompt asks for it."""
    server = serve("--share", "chatter=0.25", "--share", "foreign=0.1", "--share", "500=0.05", *options)
    recipe(tmp_path, server, 40)
    tree = json.loads((tmp_path / "recipe.yaml").read_text())
    tree["generate"]["n"] = 2
    tree["judge"] = {"models": f"openai:judge@{server.url}", "max_failed": 0}
    (tmp_path / "recipe.yaml").write_text(json.dumps(tree))
    done = curate("judge", tmp_path / "recipe.yaml", "-o", tmp_path / "RUN")
    said = f"judge at {server.url} refuses what is usual; it is asked without response_format\n"
    assert (done.returncode, done.stderr) == (0, said * len(options))
    verdicts = pl.read_parquet(tmp_path / "RUN" / "stages" / "verdicts" / "*.parquet")
    finishes = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet").get_column("finish_reason").to_list()
    complete = finishes.count("stop")
    assert 40 < len(verdicts) == complete < 80  # one that was cut off is in no pair, and is not judged
    none = verdicts.filter(pl.col("score").is_null())
    assert 1 <= len(none) <= 25  # about 0.35 * 0.35 of them
    assert none.get_column("raw").null_count() == 0
    assert none.get_column("error").null_count() == 0
    assert verdicts.filter(pl.col("score").is_not_null()).get_column("score").is_between(1, 5).all()
    judged = [line["did"] for line in server.lines() if line["model"] == "judge"]
    bad = judged.count("chatter") + judged.count("foreign")
    assert bad > len(none)
    assert complete / 2 < judged.count("answered") <= complete - len(none)  # equal answers to a prompt are judged once


@pytest.mark.parametrize("when", ["waiting", "busy"])
def test_an_interrupt_stops_it_quickly_and_keeps_the_answers(
    tmp_path: Path, serve: Callable[..., FaultServer], when: str
) -> None:
    """Several parts are in progress or queued; the endpoint holds all requests, or answers as it can."""
    server = serve()
    if when == "waiting":
        server.control(hold_after=300)
    yaml = recipe(tmp_path, server, 1_100, n=2, timeout=100, concurrency=32)
    process = started("generate", yaml, "-o", tmp_path / "RUN")
    while server.answers().total() < 300:
        time.sleep(0.01)
    if when == "waiting":
        server.quiet()
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = ended(process, 30)
    assert time.monotonic() - begun < 3
    check_line(done, 130, "interrupted; the same command")
    kept = stored(tmp_path / "RUN")
    answered = server.answers().total()
    assert answered - 32 <= kept <= answered
    server.control(hold_after=None)
    assert curate("generate", yaml, "-o", tmp_path / "RUN").returncode == 0
    assert len(server.answers()) == 2_200
    assert sum(times - 1 for times in server.answers().values()) <= (0 if when == "waiting" else 32)
