"""After a kill at any moment, the same command requests only missing replies, and yields the same candidates."""

import json
import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.faults import FaultServer, curate, prompts, started

pytestmark = pytest.mark.slow

COUNT, N, KILLS = 90, 3, 10
NO_RETRY = ("--set", "generate.retry_cut=1")  # so that requests can be counted
FAULTS = ("--seed", "7", "--share", "all=0.15", "--slow", "3")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompts(tmp_path_factory.mktemp("source") / "prompts.jsonl", COUNT)


def command(source: Path, server: FaultServer, out: Path) -> tuple[Any, ...]:
    quick = f'generate.models=[{{"model": "openai:test", "base_url": "{server.url}", "timeout": 1, "retries": 8}}]'
    return ("generate", source, "-n", N, "-o", out, "--set", quick, "--set", "generate.max_tokens=40", *NO_RETRY)


def candidates(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "candidates.parquet")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an uninterrupted run, with the same faults."""
    folder = tmp_path_factory.mktemp("whole")
    with FaultServer(folder / "log", *FAULTS) as server:
        done = curate(*command(source, server, folder / "RUN"))
        assert done.returncode == 0, done.stderr
        assert len(server.answers()) == COUNT * N
        assert server.did().total() > 1.1 * COUNT * N
    return folder / "RUN"


def test_killed_at_quiet_points_nothing_is_answered_twice(source: Path, whole: Path, tmp_path: Path) -> None:
    """The server stops after some number of answers and holds further requests; then the client is killed."""
    points = sorted(random.Random(3).sample(range(1, COUNT * N - 1), KILLS))
    with FaultServer(tmp_path / "log", *FAULTS) as server:
        arguments = command(source, server, tmp_path / "RUN")
        for point in points:
            server.control(hold_after=point - server.answers().total())
            process = started(*arguments)
            while server.answers().total() < point:
                assert process.poll() is None
                time.sleep(0.01)
            server.quiet(0.25)
            process.kill()
            process.communicate()
        assert server.answers().total() == points[-1]
        server.control(hold_after=None)
        done = curate(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert server.did()["held"] > 0
        assert set(server.answers().values()) == {1}
        assert len(server.answers()) == COUNT * N
    assert (tmp_path / "RUN" / "candidates.parquet").read_bytes() == (whole / "candidates.parquet").read_bytes()
    assert_frame_equal(candidates(tmp_path / "RUN"), candidates(whole))


def test_killed_at_any_moment_only_requests_in_flight_are_answered_again(
    source: Path, whole: Path, tmp_path: Path
) -> None:
    draws = random.Random(5)
    under_way = 0
    with FaultServer(tmp_path / "log", *FAULTS, "--delay", "0.15") as server:
        arguments = command(source, server, tmp_path / "RUN")
        for _ in range(KILLS // 2):
            since = len(server.lines())
            process = started(*arguments)
            while len(server.lines()) == since:
                time.sleep(0.01)
            time.sleep(draws.uniform(0, 0.4))
            process.kill()
            process.communicate()
            under_way += 32
        assert server.answers().total() < COUNT * N + under_way
        done = curate(*arguments)
        assert done.returncode == 0, done.stderr
        answers = server.answers()
        assert len(answers) == COUNT * N
        assert max(answers.values()) > 1  # otherwise all kills came at quiet points
        assert answers.total() - len(answers) <= under_way
    assert_frame_equal(candidates(tmp_path / "RUN"), candidates(whole))


@pytest.mark.timeout(600)  # its two commands may take 200 s each
def test_every_prompt_is_in_the_ledger_with_its_reason(tmp_path: Path) -> None:
    """Some prompts are never answered, one is a duplicate, one is empty, one is not JSON; the run is killed twice."""
    marks = {3: "[[400*]]", 4: "[[500*]]", 5: "[[null*]]", 6: "[[400_context*]]", 7: "[[garbled 500]]"}
    source = prompts(tmp_path / "prompts.jsonl", 40, lambda n: marks.get(n, ""))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines, lines[0], json.dumps({"prompt": ""}), "{broken"]) + "\n")
    with FaultServer(tmp_path / "log") as server:
        models = [
            {"model": f"openai:{name}", "base_url": server.url, "timeout": 1, "retries": 2, "max_tokens": most}
            for name, most in (("large", 90), ("small", 80))
        ]
        recipe = {
            "source": {"paths": str(source), "max_bad_rows": 0.1},
            "generate": {"models": models, "n": 1, "max_failed": 0.2},
            "pair": {"strategy": "delta", "order": ["openai:large", "openai:small"]},
            "rules": {"defaults": False},
        }
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        for answers in (20, 30):
            server.control(hold_after=answers)
            process = started("run", tmp_path / "recipe.yaml", "-o", tmp_path / "RUN")
            server_has = server.answers().total() + answers
            while server.answers().total() < server_has:
                time.sleep(0.01)
            server.quiet()
            process.kill()
            process.communicate()
        server.control(hold_after=None)
        first = curate("run", tmp_path / "recipe.yaml", "-o", tmp_path / "RUN", timeout=200)
        assert (first.returncode, first.stderr) == (0, "")
        ledger = pl.read_parquet(tmp_path / "RUN" / "ledger.parquet")
        assert_every_prompt_is_there(ledger)
        # The same command again repeats only failed requests, which fail again, and gives the same result.
        since = len(server.lines())
        again = curate("run", tmp_path / "recipe.yaml", "-o", tmp_path / "RUN", timeout=200)
        assert (again.returncode, again.stderr) == (0, "")
        asked = {line["key"] for line in server.lines(since)}
        assert len(asked) <= 2 * 4 + 2  # and "Hi" for each model
    assert_frame_equal(pl.read_parquet(tmp_path / "RUN" / "ledger.parquet"), ledger)


def assert_every_prompt_is_there(ledger: pl.DataFrame) -> None:
    assert sorted(ledger.get_column("source_row")) == list(range(43))
    reasons = {row: "; ".join(why) for row, why in ledger.select("source_row", "reasons").iter_rows() if why}
    assert reasons == {
        3: "no_answer: status 400: Invalid value for this parameter",
        4: "no_answer: status 500, after repeated attempts",
        5: "no_answer: the reply is empty, after repeated attempts",
        6: "no_answer: status 400: maximum context length is 4096 tokens",
        40: "duplicate_prompt: prompts.jsonl row 0",
        41: "prompt_empty: the last user turn is blank",
        42: "broken_row: line 43: invalid JSON: JSON is malformed: object keys must be strings (byte 1)",
    }
    assert ledger.get_column("kept").sum() == 36
