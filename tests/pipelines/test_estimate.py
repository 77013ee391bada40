"""Estimates before and after a run: nothing is sent, nothing is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.errors import RecipeError
from curate.recipe.load import load_recipe
from pipelines import flow
from pipelines.clients.budget import tokens_of
from pipelines.estimate import estimate
from pipelines.flow import generate, judge
from tests.chat_server import ChatServer, chat_server
from tests.data import row, rows, write_jsonl
from tests.pipelines.story import prompts, recipe, reply, whole

ONCE = {"retry_cut": 1}  # answers that are cut off are not requested again


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer) -> None:
    server.forget()


def lines_of(found: list[Any]) -> list[tuple[str, str, int, int]]:
    return [(line.stage, line.model, line.requests, line.known) for line in found]


def test_every_request_is_counted(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "", "How do I restore photo number 0 from last week's backup?", count=4)
    models = [server.line("one"), {"model": "openai:two", "base_url": server.url, "max_tokens": 10}]
    wanted = whole(server, source, generate={"models": models, "n": 3, "max_tokens": 100})
    found = estimate(wanted)
    assert lines_of(found) == [
        ("generate", "openai:one", 12, 0), ("generate", "openai:two", 12, 0), ("judge", "openai:judge", 24, 0),
    ]  # fmt: skip
    one, two, judged = found
    asked = "How do I restore photo number 0 from last week's backup?"
    # Each answer may be cut off, and is then requested once more with twice the tokens.
    assert one.input_tokens == 2 * 12 * tokens_of([{"role": "user", "content": asked}])
    assert (one.output_tokens, two.input_tokens, two.output_tokens) == (12 * 300, one.input_tokens, 12 * 30)
    assert judged.output_tokens == 24 * 512
    assert judged.input_tokens > 24 * (110 + one.input_tokens // 24)  # prompt and answer, and the rubric with them
    (once, _, _) = estimate(
        whole(server, source, generate={"models": models, "n": 3, "max_tokens": 100, "retry_cut": 1})
    )
    assert (once.input_tokens, once.output_tokens) == (one.input_tokens // 2, 1200)
    assert server.asked == []


@pytest.mark.slow
def test_the_estimate_is_an_upper_bound_of_the_run(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=4)
    for method in ("rubric", "pairwise"):
        judges = {"models": [server.line("judge"), server.line("judge-2")], "method": method}
        wanted = whole(server, source, generate={"models": [server.line("w")], "n": 3}, judge=judges)
        found = {line.model: line for line in estimate(wanted)}
        server.forget()
        generation = judge(wanted, tmp_path / method)["generation"]
        assert {name: len(server.of(name.removeprefix("openai:"))) for name in found} == {
            name: line.requests for name, line in found.items()
        }
        for spent in generation["requests"]:
            assert spent["input_tokens"] < found[spent["model"]].input_tokens
            assert spent["output_tokens"] < found[spent["model"]].output_tokens


@pytest.mark.slow
def test_answers_that_are_cut_off_are_counted_with_the_request_that_follows(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "A long one?", count=1)
    wanted = whole(server, source, generate={"models": [server.line("w")], "max_tokens": 50})
    found = {line.model: line for line in estimate(wanted)}
    generation = judge(wanted, tmp_path / "RUN")["generation"]
    assert len(server.of("w")) == 2 + 2 * 2
    for spent in generation["requests"]:
        assert spent["output_tokens"] <= found[spent["model"]].output_tokens
    after = {line.model: line for line in estimate(wanted, tmp_path / "RUN")}
    assert [(line.requests - line.known, line.usd) for line in after.values()] == [(0, None)] * 2
    with_more = whole(server, source, generate={"models": [server.line("w")], "max_tokens": 50, "retry_cut": 3})
    (more, _) = estimate(with_more, tmp_path / "RUN")
    assert (more.requests, more.known, more.output_tokens) == (6, 4, 2 * 150)


@pytest.mark.slow
def test_after_a_run_everything_is_known(server: ChatServer, tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "prompts": {"model": server.line("maker"), "n": 5, "description": "Backups"},
        "judge": {"models": [server.line("judge"), "heuristic"], "method": "pairwise"},
    }
    source = prompts(tmp_path / "p.jsonl", count=2)
    wanted = whole(server, source, **sections)
    before = estimate(wanted, tmp_path / "RUN")
    assert lines_of(before) == [
        ("prompts", "openai:maker", 6, 0), ("generate", "openai:writer", 14, 0), ("judge", "openai:judge", 14, 0),
    ]  # fmt: skip
    generate(wanted, tmp_path / "RUN")
    server.forget()
    halfway = lines_of(estimate(wanted, tmp_path / "RUN"))
    asked = halfway[0][2]
    assert halfway == [
        ("prompts", "openai:maker", asked, asked),
        ("generate", "openai:writer", 14, 14),
        ("judge", "openai:judge", 14, 0),
    ]
    assert server.asked == []
    only_asked = whole(server, source, **sections | {"judge": {"models": [server.line("judge")], "method": "pairwise"}})
    judge(only_asked, tmp_path / "RUN")
    after = estimate(wanted, tmp_path / "RUN")
    assert [(line.requests, line.known, line.input_tokens, line.output_tokens) for line in after] == [
        (asked, asked, 0, 0), (14, 14, 0, 0), (14, 14, 0, 0),
    ]  # fmt: skip


def test_the_estimate_after_an_edit(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=3)
    judge(whole(server, source), tmp_path / "RUN")
    more = whole(server, source, generate={"models": [server.line("writer")], "n": 3})
    # The verdicts on a set with a missing answer are unknown, so the set is counted at its maximum.
    assert lines_of(estimate(more, tmp_path / "RUN")) == [
        ("generate", "openai:writer", 9, 6), ("judge", "openai:judge", 9, 0),
    ]  # fmt: skip
    prompts(source, "One more?", count=3)
    assert lines_of(estimate(whole(server, source), tmp_path / "RUN")) == [
        ("generate", "openai:writer", 8, 6), ("judge", "openai:judge", 8, 6),
    ]  # fmt: skip


def test_nothing_is_written(server: ChatServer, tmp_path: Path) -> None:
    wanted = whole(server, prompts(tmp_path / "p.jsonl", count=2))
    estimate(wanted, tmp_path / "RUN")
    assert not (tmp_path / "RUN").exists()
    generate(wanted, tmp_path / "RUN")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "RUN").rglob("*")) if path.is_file()}
    estimate(wanted, tmp_path / "RUN")
    assert {path: path.read_bytes() for path in sorted((tmp_path / "RUN").rglob("*")) if path.is_file()} == before


def test_seeds_that_are_not_answered_are_not_counted(server: ChatServer, tmp_path: Path) -> None:
    section = {"model": server.line("maker"), "n": 5, "with_seeds": False}
    found = estimate(whole(server, prompts(tmp_path / "p.jsonl", count=3), prompts=section))
    assert lines_of(found)[1:] == [("generate", "openai:writer", 10, 0), ("judge", "openai:judge", 10, 0)]


def test_pairs_judged_again(server: ChatServer, tmp_path: Path) -> None:
    lines = [*rows(3), row(3, chosen=None), row(4, chosen_score=2, rejected_score=2), row(5, chosen=row(5)["rejected"])]
    source = write_jsonl(tmp_path / "p.jsonl", lines)
    panel = {"models": [server.line("judge"), server.line("judge-2"), "heuristic"]}
    assert lines_of(estimate(recipe(source, judge=panel))) == [
        ("judge", "openai:judge", 10, 0), ("judge", "openai:judge-2", 10, 0),
    ]  # fmt: skip
    compared = recipe(source, judge=panel | {"method": "pairwise"})
    assert [line.requests for line in estimate(compared)] == [8, 8]  # two equal answers are not compared


def test_a_limit_counts(server: ChatServer, tmp_path: Path) -> None:
    found = estimate(whole(server, prompts(tmp_path / "p.jsonl", count=9), source={"limit": 2}))
    assert [line.requests for line in found] == [4, 4]


def test_a_recipe_without_requests(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", rows(3))
    assert estimate(recipe(source, judge={"models": ["heuristic", "reward:x"]})) == []
    assert estimate(recipe(source, pair={"strategy": "max_min"})) == []


def test_the_quickstart_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = load_recipe(Path(flow.__file__).parent / "recipes" / "quickstart.yaml")
    (found,) = estimate(wanted)
    assert (found.model, found.requests, found.usd) == ("embedded", 48, 0.0)


def test_models_in_order_need_no_judge(server: ChatServer, tmp_path: Path) -> None:
    order = ["openai:large", "openai:small"]
    wanted = recipe(
        prompts(tmp_path / "p.jsonl", count=3),
        generate={"models": [server.line("large"), server.line("small")], "n": 1},
        pair={"strategy": "delta", "order": order},
    )
    assert lines_of(estimate(wanted)) == [("generate", "openai:large", 3, 0), ("generate", "openai:small", 3, 0)]


# ---- money ----


def test_dollars_are_the_maximum_of_unknown_requests(server: ChatServer, tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("writer: {input: 1_000_000, output: 0}\ngpt-4o-mini: {input: 0, output: 10}\n")
    source = prompts(tmp_path / "p.jsonl", count=2)
    models = [server.line("writer"), server.line("gpt-4o-mini"), server.line("nobody-knows")]
    budget = {"prices": str(table)}
    wanted = whole(server, source, generate={"models": models, "n": 1, "max_tokens": 1000, **ONCE}, budget=budget)
    writer, mini, unknown, _ = estimate(wanted)
    assert writer.usd == writer.input_tokens
    assert mini.usd == pytest.approx(2 * 1000 * 10 / 1e6)
    assert unknown.usd is None
    assert "price unknown" in str(unknown)
    generate(wanted, tmp_path / "RUN")
    writer, mini, unknown, _ = estimate(wanted, tmp_path / "RUN")
    assert (writer.usd, mini.usd, unknown.usd) == (0.0, 0.0, None)


def test_a_models_own_price_is_used(server: ChatServer, tmp_path: Path) -> None:
    model = {"model": "openai:writer", "base_url": server.url, "input_price": 0, "output_price": 2}
    wanted = whole(
        server, prompts(tmp_path / "p.jsonl", count=5), generate={"models": [model], "max_tokens": 100_000, **ONCE}
    )
    assert estimate(wanted)[0].usd == pytest.approx(2.0)


def test_max_completion_tokens_counts_too(server: ChatServer, tmp_path: Path) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 77}
    model = {"model": "openai:writer", "base_url": server.url, "extra": extra}
    wanted = whole(server, prompts(tmp_path / "p.jsonl", count=5), generate={"models": [model], "n": 2, **ONCE})
    assert estimate(wanted)[0].output_tokens == 770


def test_invalid_recipes_are_errors(server: ChatServer, tmp_path: Path) -> None:
    section = {"model": server.line("maker"), "n": 5, "method": "evolve", "description": "x"}
    wanted = recipe(None, prompts=section, generate={"models": [server.line("writer")]}, judge={"models": "heuristic"})
    with pytest.raises(RecipeError, match="evolve rewrites seeds, and there are none"):
        estimate(wanted)
