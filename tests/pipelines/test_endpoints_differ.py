"""Whole runs against endpoints that differ from OpenAI's, change their mind, or answer without an answer."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError, ServiceError
from curate.rundir.result import Run
from pipelines.clients.completions import ONLY_REASONING
from pipelines.flow import generate, judge, judge_again, run
from pipelines.raw import raw_verdicts
from tests.chat_server import Answer, ChatServer, Messages, chat_server, last, rating
from tests.pipelines.story import prompts, recipe, reply, whole

pytestmark = pytest.mark.slow  # together they take a while


@pytest.fixture(scope="module")
def serving() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


@pytest.fixture
def server(serving: ChatServer) -> ChatServer:
    serving.reply = reply
    serving.forget()
    return serving


def answered(server: ChatServer, folder: Path, count: int = 3, **settings: Any) -> pl.DataFrame:
    """Return the candidates of a run that only generates: two answers to each prompt."""
    source = folder / "p.jsonl" if (folder / "p.jsonl").is_file() else prompts(folder / "p.jsonl", count=count)
    model = {"model": server.line("writer"), "concurrency": 1, **settings.pop("model", {})}
    wanted = recipe(
        source, generate={"models": [model], "n": 2, "max_failed": 0, **settings.pop("generate", {})}, **settings
    )
    generate(wanted, folder / "RUN")
    return pl.read_parquet(folder / "RUN" / "candidates.parquet")


def texts(candidates: pl.DataFrame) -> list[str | None]:
    return candidates.select(pl.col("response").list.first().struct.field("content")).to_series().to_list()


# ---- answers that are cut off ----


def cut_below(room: int) -> Any:
    """An answer needs this many tokens; with fewer it is cut off."""

    def answer(messages: Messages, params: Mapping[str, Any]) -> Answer:
        return f"All {room} of it." if params["max_tokens"] >= room else ("Only a", "length")

    return answer


def test_an_answer_that_is_cut_off_is_asked_for_once_more_with_more_room(server: ChatServer, tmp_path: Path) -> None:
    server.reply = cut_below(30)
    found = answered(server, tmp_path, generate={"max_tokens": 16})
    assert texts(found) == ["All 30 of it."] * 6
    assert found.get_column("finish_reason").to_list() == ["stop"] * 6
    assert sorted(body["max_tokens"] for body in server.asked) == [16] * 6 + [32] * 6


def test_an_answer_that_is_cut_off_again_is_a_candidate_and_in_no_pair(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda _, params: rating(3) if "judge" in params["model"] else ("Only a", "length")
    source = prompts(tmp_path / "p.jsonl", count=2)
    done = run(whole(server, source, generate={"models": [server.line("writer")], "max_tokens": 16}), tmp_path / "RUN")
    candidates = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert candidates.get_column("finish_reason").to_list() == ["length"] * 4
    assert texts(candidates) == ["Only a"] * 4
    assert done.counts["kept"] == 0
    assert {row["reasons"][0].partition(":")[0] for row in done.ledger.collect().to_dicts()} == {"one_answer"}
    assert done.manifest.generation["answers"][0]["cut_off"] == 4


def test_a_larger_limit_requests_only_answers_that_were_cut_off(server: ChatServer, tmp_path: Path) -> None:
    def by_number(messages: Messages, params: Mapping[str, Any]) -> Answer:
        answer: Answer = cut_below(50 if "number 1" in last(messages) else 5)(messages, params)
        return answer

    server.reply = by_number
    once = {"retry_cut": 1}
    first = answered(server, tmp_path, generate={"max_tokens": 16, **once})
    assert first.get_column("finish_reason").to_list() == ["stop", "stop", "length", "length", "stop", "stop"]
    server.forget()
    second = answered(server, tmp_path, generate={"max_tokens": 64, **once})
    assert ["number 1" in last(body["messages"]) for body in server.asked] == [True, True]
    assert second.get_column("finish_reason").to_list() == ["stop"] * 6
    server.forget()
    answered(server, tmp_path, generate={"max_tokens": 16, **once})
    assert server.asked == []  # all of it is known


def test_an_answer_that_is_cut_off_is_not_judged_where_it_can_be_in_no_pair(server: ChatServer, tmp_path: Path) -> None:
    def reply(messages: Messages, params: Mapping[str, Any]) -> Answer:
        return rating(3) if params["model"] == "judge" else ("Only a", "length") if "1" in last(messages) else "All."

    server.reply = reply
    source = prompts(tmp_path / "p.jsonl", count=3)
    for cut_off, verdicts in (("drop", 2), ("rejected", 1)):
        server.forget()
        judge(whole(server, source, pair={"cut_off": cut_off}), tmp_path / "RUN")
        assert len(server.of("judge")) == verdicts  # equal answers once; the others are known then


def test_a_raised_budget_asks_again_for_what_was_cut_off(server: ChatServer, tmp_path: Path) -> None:
    server.reply = cut_below(100)
    wanted: dict[str, Any] = {"generate": {"max_tokens": 16, "retry_cut": 100}}
    cut = answered(server, tmp_path, **wanted, budget={"tokens": 1_500})
    assert cut.get_column("finish_reason").to_list() == ["length"] * 6
    server.forget()
    assert answered(server, tmp_path, **wanted, budget={"tokens": 1_600}).equals(cut)
    assert server.asked == []
    whole_ones = answered(server, tmp_path, **wanted)
    assert whole_ones.get_column("finish_reason").to_list() == ["stop"] * 6
    assert [body["max_tokens"] for body in server.asked] == [1600] * 6


def test_more_room_is_requested_only_where_the_budget_allows_it(server: ChatServer, tmp_path: Path) -> None:
    """The prompts cost little, an answer at most 16 tokens, and one with more room 1,600."""
    server.reply = cut_below(900)
    found = answered(server, tmp_path, generate={"max_tokens": 16, "retry_cut": 100}, budget={"tokens": 1_500})
    assert found.get_column("finish_reason").to_list() == ["length"] * 6
    assert {body["max_tokens"] for body in server.asked} == {16}


# ---- replies without a text ----

SILENT: dict[str, tuple[dict[str, Any], str, str]] = {
    "filtered": (
        {"content": None, "finish_reason": "content_filter"},
        "content_filter", "filtered by the endpoint (finish_reason content_filter)",
    ),
    "a tool": (
        {"content": None, "tool_calls": [{"function": {"name": "look_up"}}], "finish_reason": "tool_calls"},
        "tool_calls", "no text, but a call of a tool (look_up)",
    ),
    "a refusal": ({"content": None, "refusal": "I can't."}, "refusal", "refused by the model (I can't.)"),
    "reasoning": ({"content": None, "reasoning_content": "Hm."}, "stop", ONLY_REASONING),
}  # fmt: skip


@pytest.mark.parametrize("kind", SILENT)
def test_a_reply_without_text_is_named_and_not_requested_again(server: ChatServer, tmp_path: Path, kind: str) -> None:
    message, finish, error = SILENT[kind]
    server.reply = lambda messages, params: message if params["seed"] else "An answer."
    for asked in (6, 0):
        server.forget()
        found = answered(server, tmp_path)
        assert len(server.asked) == asked
        assert texts(found) == ["An answer.", None] * 3
        assert found.get_column("finish_reason").to_list() == ["stop", finish] * 3
        assert found.get_column("error").to_list() == [None, error] * 3


def test_reasoning_is_kept_beside_the_answer(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda *_: {"content": "Yes.", "reasoning": "Hm."}
    found = answered(server, tmp_path)
    assert (texts(found), found.get_column("reasoning").to_list()) == (["Yes."] * 6, ["Hm."] * 6)


def test_reasoning_counts_as_the_answer_where_the_user_says_so(server: ChatServer, tmp_path: Path) -> None:
    """Also for replies that are stored already."""
    server.reply = lambda *_: {"content": None, "reasoning_content": "Hm."}
    assert texts(answered(server, tmp_path)) == [None] * 6
    server.forget()
    found = answered(server, tmp_path, model={"reasoning_as_answer": True})
    assert (texts(found), found.get_column("error").to_list()) == (["Hm."] * 6, [None] * 6)
    assert server.asked == []


# ---- parameters ----

REFUSALS: dict[str, tuple[Any, str]] = {
    "max_tokens": (lambda body: "max_tokens" in body, "'max_tokens' is not supported; use 'max_completion_tokens'"),
    "temperature": (lambda body: "temperature" in body, "temperature does not support 0.8 with this model"),
    "seed": (lambda body: "seed" in body, "seed: Extra inputs are not permitted"),
    "stream": (lambda body: "stream" in body, "Unknown parameter: 'stream'"),
    "format": (lambda body: "response_format" in body, "model does not support feature: structured-outputs"),
    "system": (lambda body: body["messages"][0]["role"] == "system", "System role not supported"),
    "several": (lambda body: {"seed", "temperature"} & body.keys(), "no seed here, and temperature is not supported"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refused_parameter_is_asked_without_and_remembered(
    server: ChatServer, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused, message = REFUSALS[what]

    def picky(messages: Messages, params: Mapping[str, Any]) -> Answer:
        if refused({**params, "messages": messages}):
            return (400, message)
        return rating(3) if "judge" in params["model"] else f"An answer to {last(messages)}"

    server.reply = picky
    brief = {"role": "system", "content": "Be brief."}
    turns = [{"prompt": [brief, {"role": "user", "content": f"Why {number}?"}]} for number in range(5)]
    source = prompts(tmp_path / "p.jsonl", *turns)
    writer, referee = ({"model": server.line(name), "concurrency": 1} for name in ("writer", "judge"))
    sections = {"generate": {"models": [writer], "max_failed": 0}, "judge": {"models": [referee], "max_failed": 0}}
    report = judge(recipe(source, **sections), tmp_path / "RUN")["generation"]
    assert (report["answers"][0]["failed"], report["judges"][0]["null_rate"]) == (0, 0.0)
    learned = [line for line in capsys.readouterr().err.splitlines() if "refuses what is usual" in line]
    models = {body["model"] for body in server.asked if refused(body)}
    assert len(learned) == len(models) == (1 if what == "format" else 2)
    each = 2 if what == "several" else 1  # of the first request to a model, and no other
    assert len([body for body in server.asked if refused(body)]) == each * len(models)


def test_an_endpoint_that_changes_its_mind_in_mid_run(server: ChatServer, tmp_path: Path) -> None:
    def later(messages: Messages, params: Mapping[str, Any]) -> Answer:
        late = len(server.asked) > 10
        return (
            (422, "seed: Extra inputs are not permitted")
            if late and "seed" in params
            else f"{last(messages)} {params.get('seed')}"
        )

    server.reply = later
    found = answered(server, tmp_path, count=20)
    assert found.get_column("error").null_count() == 40
    assert len(server.asked) == 41


def test_a_refusal_of_one_request_changes_nothing_for_others(server: ChatServer, tmp_path: Path) -> None:
    prompts(tmp_path / "p.jsonl", "A long one", count=3)
    server.reply = lambda messages, params: (
        (400, "context length exceeded: reduce max_tokens") if "long" in last(messages) else "Yes."
    )
    found = answered(server, tmp_path, generate={"max_failed": 1})
    assert texts(found) == ["Yes."] * 6 + [None] * 2
    assert all({"max_tokens", "temperature", "seed"} <= body.keys() for body in server.asked)


def test_a_key_that_expires_in_mid_run(server: ChatServer, tmp_path: Path) -> None:
    """What was paid for is kept, and the next start goes on."""
    valid = 100

    def expiring(messages: Messages, params: Mapping[str, Any]) -> Answer:
        return f"{last(messages)} {params['seed']}" if len(server.asked) <= valid else (401, "The key has expired")

    server.reply = expiring
    with pytest.raises(ServiceError, match=r"the key was refused \(401\)"):
        answered(server, tmp_path, count=75)
    assert len(server.asked) == 101
    server.forget()
    valid = 1_000
    found = answered(server, tmp_path)
    assert (len(found), len(server.asked), found.get_column("error").null_count()) == (150, 50, 150)


# ---- verdicts ----


def judged(server: ChatServer, folder: Path, count: int = 40) -> Run:
    source = folder / "p.jsonl" if (folder / "p.jsonl").is_file() else prompts(folder / "p.jsonl", count=count)
    return run(
        whole(server, source, judge={"models": [{"model": server.line("judge"), "concurrency": 4}]}), folder / "RUN"
    )


def stopped(server: ChatServer, folder: Path) -> str | None:
    """Return the error that ends the run, if any."""
    try:
        judged(server, folder)
    except ServiceError as error:
        return str(error)
    return None


def test_a_judge_stops_after_ten_unusable_verdicts_in_a_row(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda messages, params: (
        "I'd say **4**,\neasily." if "judge" in params["model"] else reply(messages, params)
    )
    with pytest.raises(ServiceError) as raised:
        judged(server, tmp_path)
    assert str(raised.value).startswith(
        "openai:judge gave 10 verdicts in a row that cannot be used. The last reply was “I'd say **4**, easily.”: there"
    )
    assert len(server.of("judge")) <= 2 * (10 + 4)  # each is asked to repair; a few are in flight


def test_a_judge_that_judges_after_thirty_replies_in_prose(server: ChatServer, tmp_path: Path) -> None:
    """Starts of the same command are enough, and no usable verdict is requested twice."""
    spoken = 0

    def slow_to_learn(messages: Messages, params: Mapping[str, Any]) -> Answer:
        nonlocal spoken
        if "judge" not in params["model"]:
            return reply(messages, params)
        spoken += 1
        return "Both are nice." if spoken <= 30 else reply(messages, params)

    server.reply = slow_to_learn
    refused = list(iter(lambda: stopped(server, tmp_path), None))
    assert 1 <= len(refused) <= 3
    assert all("10 verdicts in a row" in error for error in refused)
    done = judged(server, tmp_path)
    report = done.manifest.generation["judges"][0]
    assert (report["verdicts"], report["null_rate"], done.counts["kept"]) == (80, 0.0, 40)
    asked = len(server.of("judge"))
    assert asked <= 80 + 30 + 10
    judged(server, tmp_path)
    assert len(server.of("judge")) == asked


def test_unusable_verdicts_are_requested_again_by_the_next_start(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "The unjudged one?", count=3)
    done = run(whole(server, source), tmp_path / "RUN")
    report = done.manifest.generation["judges"][0]
    assert (report["null_rate"], report["problem"], report["problems"]) == (2 / 8, "there is no JSON object", 2)
    server.forget()
    server.reply = lambda messages, params: rating(5 if "quality 2" in messages[1]["content"] else 1)
    done = run(whole(server, source), tmp_path / "RUN")
    assert len(server.asked) == 2  # the repairs
    assert (done.manifest.generation["judges"][0]["null_rate"], done.counts["kept"]) == (0.0, 4)


def test_a_judge_is_asked_again_for_all_of_its_verdicts(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=3)
    before = run(whole(server, source), tmp_path / "RUN").train.collect()
    server.forget()
    better = "This is quality 1"
    server.reply = lambda messages, params: rating(5 if better in messages[1]["content"] else 1)
    after = judge_again(tmp_path / "RUN", ["openai:judge"])
    assert isinstance(after, Run)
    assert [body["model"] for body in server.asked] == ["judge"] * 6
    sides = [
        train.get_column("chosen").list.first().struct.field("content") for train in (before, after.train.collect())
    ]
    assert [side.str.contains(better).sum() for side in sides] == [0, 3]
    requests = {row["model"]: row["requests"] for row in after.manifest.generation["requests"]}
    assert requests == {"openai:judge": 6, "openai:writer": 6}


def test_verdicts_are_not_forgotten_before_the_judge_can_be_asked(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    source = prompts(tmp_path / "p.jsonl", count=2)
    wanted = whole(server, source, judge={"models": [{"model": server.line("judge"), "api_key_env": "JUDGE_KEY"}]})
    run(wanted, tmp_path / "RUN")
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(RecipeError, match="JUDGE_KEY is not set"):
        judge_again(tmp_path / "RUN", ["openai:judge"])
    monkeypatch.setenv("JUDGE_KEY", "secret")
    server.forget()
    assert run(wanted, tmp_path / "RUN").counts["kept"] == 2
    assert server.asked == []


def test_a_judge_of_a_run_without_pairs_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=2)
    judge(whole(server, source), tmp_path / "RUN")
    server.forget()
    again = judge_again(tmp_path / "RUN", [server.line("judge")])
    assert isinstance(again, dict)
    assert again["generation"]["judges"][0]["verdicts"] == len(server.asked) == 4


def test_raw_replies_of_a_row(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "The unjudged one?", count=1)
    done = run(whole(server, source), tmp_path / "RUN")
    fine, odd = raw_verdicts(done, "p.jsonl", 0), raw_verdicts(done, "p.jsonl", 1)
    assert [(said["judge"], said["about"], said["problem"]) for said in fine] == [
        ("openai:judge", ["openai:writer"], None)
    ] * 2
    assert fine[1]["reply"] == '{"reason": "It says 2.", "ratings": {"overall": 2}}'
    assert [said["reply"] for said in odd] == ["I would rather not say."] * 4  # each with its repair
    assert all(re.match("there is no JSON object in", said["problem"]) for said in odd)
