"""Win rates by an LLM judge, over a real connection."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.chat_server import ChatServer, chat_server
from tests.pipelines.story import reply
from train.evaluation.answers import ANSWERS, candidates
from train.evaluation.wins import judge_answers, judge_section, win_rates


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


def answers(*rows: tuple[str, str | None]) -> pl.DataFrame:
    listed = [
        {
            "kind": "held out", "prompt_id": f"p{n}", "prompt": [{"role": "user", "content": f"Question {n}?"}],
            "tuned": tuned, "reference": reference,
        }
        for n, (tuned, reference) in enumerate(rows)
    ]  # fmt: skip
    return pl.DataFrame(listed, schema=ANSWERS)


def test_both_orders_and_no_repeated_request(server: ChatServer, tmp_path: Path) -> None:
    offered = candidates(answers(("quality 3 it is", "quality 1"), ("quality 1", "quality 2"), ("quality 1", None)))
    section = judge_section(server.line("judge"))
    wins = judge_answers(offered, section, tmp_path)
    assert wins.select("prompt_id", "win", "longer").rows() == [("p0", 1.0, 2), ("p1", 0.0, 0), ("p2", None, None)]
    assert len(server.asked) == 4  # two prompts, both orders
    assert judge_answers(offered, section, tmp_path).equals(wins)
    assert len(server.asked) == 4
    found = win_rates(wins, "judge")
    assert (found["prompts"], found["unjudged"], found["win rate"].mean) == (3, 1, 0.5)


def test_a_judge_that_always_prefers_the_first_answer_gives_ties(server: ChatServer, tmp_path: Path) -> None:
    offered = candidates(answers(("quality 3", "quality 1")))
    wins = judge_answers(offered, judge_section(server.line("judge-first")), tmp_path)
    assert wins.get_column("win").to_list() == [0.5]
