"""Local judges through a whole run: the heuristic, and a reward model with random weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.flow import run
from tests.chat_server import ChatServer, chat_server, rating
from tests.pipelines.clients.test_local import make
from tests.pipelines.story import prompts, reply, whole

pytestmark = pytest.mark.slow
ALL_FAIL = "Please refuse."


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


def test_the_heuristic(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "How long is a photo kept?", ALL_FAIL, count=2)
    writes = {"models": [server.line("writer")], "n": 3, "max_failed": 1}
    done = run(whole(server, source, generate=writes, judge={"models": "heuristic"}), tmp_path / "RUN")
    assert server.of("judge") == []
    fates = done.ledger.select("kept", "stage", "rule").collect().rows()
    assert fates[3] == (False, "generate", "no_answer")
    assert [rule for _, stage, rule in fates if stage == "judge"] == []
    (report,) = done.manifest.generation["judges"]
    assert (report["judge"], report["method"], report["verdicts"], report["null_rate"]) == (
        "heuristic", "heuristic", 6, 0.0,  # those that were cut off are not judged
    )  # fmt: skip
    assert "**The judge `heuristic` is not a model**" in done.card.read_text("utf-8")


def test_the_heuristic_without_any_answer(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", ALL_FAIL)
    writes = {"models": [server.line("writer")], "max_failed": 1}
    done = run(whole(server, source, generate=writes, judge={"models": "heuristic"}), tmp_path / "RUN")
    assert done.ledger.select("stage", "rule").collect().rows() == [("generate", "no_answer")]


def test_a_reward_model_beside_an_llm_judge(server: ChatServer, tmp_path: Path) -> None:
    folder = make(tmp_path / "my-reward", "LlamaForSequenceClassification", num_labels=1)  # takes 128 letters
    short = {"writer": "quality {seed}", "judge": rating(3)}
    server.reply = lambda _, params: short[params["model"]].replace("{seed}", str(params["seed"]))
    source = prompts(tmp_path / "p.jsonl", "How?", "Why?", "When?")
    writes = {"models": [server.line("writer")], "max_failed": 1}
    panel = {"models": [f"reward:{folder}", server.line("judge")]}
    done = run(whole(server, source, generate=writes, judge=panel), tmp_path / "RUN")
    panel_, reward, asked = sorted(done.manifest.generation["judges"], key=lambda report: report["method"])
    assert (panel_["judge"], panel_["verdicts"]) == ("panel", 6)
    assert (reward["judge"], reward["method"], reward["verdicts"], reward["null_rate"]) == (
        "reward:my-reward", "reward", 6, 0.0,
    )  # fmt: skip
    assert (asked["judge"], asked["verdicts"]) == ("openai:judge", 6)
    scores = done.stage("judged").scan().select("score").collect().to_series().drop_nulls()
    assert set(scores) == {0.25, 0.75}  # the mean of the shares below: 0 and 1 of the one, 0.5 of the other, a tie
