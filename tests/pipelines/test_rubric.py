"""Rubrics from data: what is kept, what is sent, and what is written."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import curate
from curate.errors import CurateError, InputError, RecipeError, ServiceError
from curate.files import OWNER
from pipelines.clients.budget import BudgetReached
from pipelines.drafting import Drafting, drafting_recipe
from pipelines.judges.rubrics import load_rubric
from pipelines.rubric import draft_rubric, estimate_rubric
from tests.chat_server import Answer, ChatServer, Messages, chat_server, last
from tests.pipelines.rubric_story import GOOD, MUMBLE, NAMES, POOR, Script, draft, judge, labelled

PLAN = Drafting(examples=2, development=3, held_out=6)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(Script(draft(GOOD))) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.reply = Script(draft(GOOD))
    server.forget()
    monkeypatch.chdir(tmp_path)
    labelled(Path("p.jsonl"))


def call(server: ChatServer, *settings: str, plan: Drafting = PLAN, out: str = "OUT", **options: Any) -> dict[str, Any]:
    force = options.pop("force", False)
    return draft_rubric(recipe(server, *settings, **options), plan, out, force=force)


def recipe(server: ChatServer, *settings: str, **options: Any) -> Any:
    options = {"method": "rubric", "against": "overall", "drafts": 1, "paths": ["p.jsonl"], **options}
    paths = options.pop("paths")
    return drafting_recipe(paths, server.line("writer"), server.line("judge"), settings=settings, **options)


def files(folder: str = "OUT") -> list[str]:
    hidden = (OWNER, ".lock", "requests.sqlite")
    return sorted(path.name for path in Path(folder).iterdir() if path.name not in hidden)


def result(folder: str = "OUT") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "rubric.json").read_text("utf-8"))
    return found


# ---- kept, or not ----


def test_a_rubric_that_agrees_better_is_kept(server: ChatServer) -> None:
    found = call(server)
    assert (found["kept"], found["draft"]) == (True, 1)
    assert found["gain"]["mean"] == 0.5
    old, new = found["figures"]
    same = {"pairs": 6, "unusable": 0, "position_consistency": None, "problem": None}
    assert old == {
        "rubric": "overall", "rubric_hash": load_rubric("overall").hash, **same, "agreement": 0.5, "decided": 0,
        "ties": 6, "decided_agreement": None, "kappa": None, "length_bias": None,
    }  # fmt: skip
    assert new == {
        "rubric": "draft 1", "rubric_hash": load_rubric("OUT/rubric.txt").hash, **same, "agreement": 1.0, "decided": 6,
        "ties": 0, "decided_agreement": 1.0, "kappa": new["kappa"], "length_bias": 0.0,
    }  # fmt: skip
    assert found["sentence"] == (
        "Kept: on 6 held-out pairs, verdicts by draft 1 agree with 100.0% of the labels, by overall with 50.0%: "
        "+50.0 points (95 % interval +8.8 to +66.2)."
    )
    text = "Which is it?\nThe brief answer wins.\n1: long\n{middle}: so-so\n{scale}: short"
    assert found["rubric"] == text
    assert files() == ["draft-1.txt", "rubric.json", "rubric.txt"]
    assert Path("OUT/rubric.txt").read_text() == Path("OUT/draft-1.txt").read_text() == f"{text}\n"
    assert result() == {name: value for name, value in found.items() if name != "rubric"}


@pytest.mark.slow
def test_the_kept_rubric_is_used_by_a_judge_as_it_was_tried(server: ChatServer) -> None:
    call(server)
    tried = [json.dumps(body, sort_keys=True) for body in server.of("judge")]
    server.forget()
    scored = curate.judge("p.jsonl", server.line("judge"), rubric="OUT/rubric.txt")
    assert scored.group_by("response").agg(pl.col("score").mean()).get_column("score").max() == 5
    used = [json.dumps(body, sort_keys=True) for body in server.of("judge")]
    assert len(set(used) & set(tried)) == 2 * 6
    assert "5: short" in server.asked[0]["messages"][0]["content"]
    ten = curate.judge("p.jsonl", server.line("judge"), rubric="OUT/rubric.txt", scale=10, settings=["source.limit=1"])
    assert len(ten) == 2
    assert "10: short" in server.asked[-1]["messages"][0]["content"]


def test_a_pairwise_rubric(server: ChatServer) -> None:
    server.reply = Script(draft(GOOD, "pairwise"))
    found = call(server, method="pairwise")
    assert (found["kept"], [row["agreement"] for row in found["figures"]]) == (True, [0.5, 1.0])
    assert found["figures"][0]["rubric"] == "pairwise"
    assert found["figures"][1]["position_consistency"] == 1.0
    assert Path("OUT/rubric.txt").read_text() == "Which is it?\nThe brief answer wins.\nRarely.\n"
    server.forget()
    scored = curate.judge("p.jsonl", server.line("judge"), method="pairwise", rubric="OUT/rubric.txt")
    assert sorted(scored.get_column("score")) == [0.0] * 12 + [1.0] * 12


def test_a_useless_draft_is_not_kept_and_stays_to_be_looked_at(server: ChatServer) -> None:
    call(server)
    assert "rubric.txt" in files()
    server.reply = Script(draft(POOR))
    found = call(server, "generate.seed=1")
    assert found["kept"] is False
    assert found["gain"]["mean"] == 0
    assert found["sentence"] == (
        "Not kept, for want of a gain: on 6 held-out pairs, verdicts by draft 1 agree with 50.0% of the labels, by "
        "overall with 50.0%: +0.0 points (95 % interval -24.5 to +24.5). Neither decides a single pair: a stronger "
        "judge may, or --method pairwise."
    )
    assert files() == ["draft-1.txt", "rubric.json"]
    assert POOR in Path("OUT/draft-1.txt").read_text()


@pytest.mark.slow
def test_a_gain_below_the_least_one_is_not_enough(server: ChatServer) -> None:
    found = call(server, plan=PLAN.model_copy(update={"min_gain": 0.51}))
    assert (found["kept"], found["gain"]["mean"]) == (False, 0.5)
    assert found["sentence"].startswith("Not kept, for want of a gain of at least 51 points: on 6 held-out pairs")
    assert call(server, plan=PLAN.model_copy(update={"min_gain": 0.5}))["kept"] is True


@pytest.mark.slow
def test_another_rubric_in_use(server: ChatServer) -> None:
    Path("mine.txt").write_text(f"{GOOD}\n1: no. {{scale}}: yes.")
    found = call(server, against="mine.txt")
    assert found["kept"] is False
    assert found["sentence"].endswith(
        "(95 % interval -24.5 to +24.5). The interval includes 0: the difference may be chance, and more held-out "
        "pairs would tell."
    )
    assert [row["rubric"] for row in found["figures"]] == ["mine", "draft 1"]
    assert [row["agreement"] for row in found["figures"]] == [1.0, 1.0]
    assert GOOD in server.of("writer")[0]["messages"][0]["content"]


# ---- several drafts ----


def test_only_the_best_draft_sees_the_held_out_pairs(server: ChatServer) -> None:
    server.reply = Script(draft(POOR), draft(GOOD), draft(f"Also: {GOOD}"))
    found = call(server, drafts=3)
    assert (found["kept"], found["draft"]) == (True, 2)  # the first of equally good ones
    assert [(row["draft"], row["agreement"]) for row in found["drafts"]] == [(1, 0.5), (2, 1.0), (3, 1.0)]
    assert found["pairs"] == {"held out": 6, "for development": 3, "as examples": 3}
    asked = [body["messages"][0]["content"] for body in server.of("judge")]
    counts = [sum(text in body for body in asked) for text in ("How well does", POOR, GOOD, "Also: ")]
    assert counts == [12, 6, 6 + 6 + 12, 6]
    assert files() == ["draft-1.txt", "draft-2.txt", "draft-3.txt", "rubric.json", "rubric.txt"]
    assert call(server, drafts=1)["draft"] == 1
    assert files() == ["draft-1.txt", "rubric.json"]  # those of the earlier call are gone


@pytest.mark.slow
def test_the_writer_is_shown_pairs_that_judge_nothing(server: ChatServer) -> None:
    server.reply = Script(draft(POOR), draft(GOOD))
    call(server, drafts=2, plan=PLAN.model_copy(update={"about": "a help desk"}))

    def words(bodies: list[dict[str, Any]]) -> set[str]:
        return {name for body in bodies for name in NAMES if f"What is {name}?" in last(body["messages"])}

    first, second = server.of("writer")
    assert (len(words([first])), len(words([second]))) == (2, 2)
    assert len(words([first, second])) == 3  # of 3 that remain
    assert words([first, second]) & words(server.of("judge")) == set()
    assert "About the data set: a help desk" in last(first["messages"])
    assert (first["seed"], second["seed"], first["temperature"], first["max_tokens"]) == (0, 1, 0.8, 2048)


# ---- replies that cannot be used ----


def test_a_draft_that_cannot_be_used_is_named_and_the_others_go_on(server: ChatServer) -> None:
    server.reply = Script("I would rather not.", (draft(GOOD), "length"), 400, draft(GOOD))
    found = call(server, drafts=4)
    assert (found["kept"], found["draft"]) == (True, 4)
    assert [row["problem"] for row in found["drafts"]] == [
        'there is no JSON object in "I would rather not."',
        "it is longer than max_tokens and was cut off; be brief",
        "status 400: refused with 400",
        None,
    ]
    assert len(server.of("writer")) == 2 + 2 + 1 + 1
    assert files() == ["draft-4.txt", "rubric.json", "rubric.txt"]


def test_a_reply_is_repaired_once(server: ChatServer) -> None:
    server.reply = lambda messages, params: (
        judge(messages) if params["model"] == "judge" else draft(GOOD) if len(messages) > 1 else "Like so?"
    )
    assert call(server)["kept"] is True
    assert len(server.of("writer")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("null", 'there is no JSON object in "null"'),
        ("Be kind. \x1b[2J\u202e", "there is no JSON object in"),
        (draft("<<<END ANSWER A OF 1 0123>>>"), "criteria repeats a marker line"),
        (draft("\x1b\u200b"), "criteria is empty"),
        (draft("x" * 9_999), "the rubric has 10,"),
    ],
)
def test_without_a_usable_draft_one_reply_is_shown(server: ChatServer, reply: str, problem: str) -> None:
    server.reply = Script(reply)
    with pytest.raises(ServiceError, match="openai:writer wrote no rubric that can be used") as error:
        call(server, drafts=2)
    assert problem in str(error.value)
    assert files() == []
    server.reply = Script(draft(GOOD))  # after its repair
    assert call(server, drafts=2)["kept"] is True


def test_a_draft_that_confuses_the_judge_loses(server: ChatServer) -> None:
    server.reply = Script(draft(MUMBLE), draft(POOR))
    plan = Drafting(examples=1, development=5, held_out=5)
    found = call(server, plan=plan, drafts=2)
    assert [row["agreement"] for row in found["drafts"]] == [0.5, 0.5]
    assert (found["draft"], found["kept"]) == (1, False)
    assert (found["figures"][1]["unusable"], found["figures"][1]["problem"]) == (5, "there is no JSON object")


def test_a_judge_that_gives_no_verdicts_is_an_error_before_a_draft_is_paid_for(server: ChatServer) -> None:
    server.reply = lambda *_: "Hm."
    with pytest.raises(ServiceError, match="openai:judge gave 10 verdicts in a row that cannot be used"):
        call(server)
    assert server.of("writer") == []


def test_requests_that_fail_are_an_error(server: ChatServer) -> None:
    server.reply = lambda messages, _: 400 if "Yes." in last(messages) else judge(messages)
    with pytest.raises(ServiceError, match=r"6 of 12 verdicts failed \(status 400"):
        call(server)


# ---- money, and going on ----


def test_the_same_call_asks_nothing_twice(server: ChatServer) -> None:
    server.reply = Script(draft(POOR), draft(GOOD))
    estimate = estimate_rubric(recipe(server, drafts=2), PLAN, Path("OUT"))
    assert server.asked == []
    assert not Path("OUT").exists()
    assert [(row.stage, row.requests, row.known) for row in estimate] == [("draft", 2, 0), ("judge", 36, 0)]
    found = call(server, drafts=2)
    assert (len(server.of("writer")), len(server.of("judge"))) == (2, 36)
    assert [(row["model"], row["requests"]) for row in found["requests"]] == [
        ("openai:judge", 36),
        ("openai:writer", 2),
    ]
    sent = [sum(row.input_tokens for row in estimate), sum(row["input_tokens"] for row in found["requests"])]
    assert sent[0] > sent[1]
    server.forget()
    assert call(server, drafts=2) == found
    assert server.asked == []
    again = estimate_rubric(recipe(server, drafts=2), PLAN, Path("OUT"))
    assert [(row.requests, row.known, row.input_tokens) for row in again] == [(2, 2, 0), (36, 36, 0)]


def test_an_interrupted_call_goes_on(server: ChatServer) -> None:
    working = Script(draft(POOR), draft(GOOD))
    answered: list[int] = []

    def failing(messages: Messages, params: Mapping[str, Any]) -> Answer:
        if len(answered) >= 20:
            return 401
        answered.append(1)
        return working(messages, params)

    server.reply = failing
    with pytest.raises(ServiceError, match="the key was refused"):
        call(server, drafts=2)
    assert files() == []
    estimate = estimate_rubric(recipe(server, drafts=2), PLAN, Path("OUT"))
    assert [(row.requests, row.known) for row in estimate] == [(2, 2), (36, 18)]
    server.forget()
    server.reply = working
    assert call(server, drafts=2)["kept"] is True
    assert len(server.asked) == 18


@pytest.mark.slow
def test_a_budget_is_never_exceeded_and_the_call_goes_on_with_a_larger_one(server: ChatServer) -> None:
    with pytest.raises(BudgetReached):
        call(server, "budget.tokens=3000")
    assert 0 < len(server.asked) < 25
    asked = len(server.asked)
    with pytest.raises(BudgetReached):
        call(server, "budget.tokens=3000")
    assert call(server)["kept"] is True
    assert len(server.asked) == 1 + 24
    assert asked < 25


# ---- mistakes ----


def test_too_few_pairs_write_nothing(server: ChatServer) -> None:
    with pytest.raises(InputError, match="103 labelled pairs with different prompts are needed"):
        call(server, plan=Drafting(examples=3))
    assert server.asked == []
    assert not Path("OUT").exists()


def test_a_folder_of_somebody_else_is_refused(server: ChatServer) -> None:
    Path("OUT").mkdir()
    Path("OUT/rubric.txt").write_text("mine")
    with pytest.raises(RecipeError, match="OUT is not empty and contains no rubric"):
        call(server)
    assert Path("OUT/rubric.txt").read_text() == "mine"
    assert server.asked == []


@pytest.mark.slow
def test_a_result_of_other_pairs_is_replaced_with_force_only(server: ChatServer) -> None:
    call(server)
    Path("OUT/draft-1-mine.txt").write_text("edited")
    before = result()
    Path("other.jsonl").write_text(Path("p.jsonl").read_text().replace("What", "Who"))
    with pytest.raises(RecipeError, match=r"OUT holds a rubric from other pairs \(p\.jsonl\)"):
        call(server, paths=["other.jsonl"])
    assert result() == before
    damaged = json.dumps(before | {"inputs": 3})
    Path("OUT/rubric.json").write_text(damaged)
    with pytest.raises(InputError, match=r"OUT/rubric\.json cannot be read"):
        call(server)
    assert call(server, paths=["other.jsonl"], force=True)["inputs"].keys() == {"other.jsonl"}
    assert files() == ["draft-1-mine.txt", "draft-1.txt", "rubric.json", "rubric.txt"]


@pytest.mark.parametrize(
    ("settings", "options", "said"),
    [
        ([], {"against": "none.txt"}, "unknown rubric 'none.txt'"),
        ([], {"method": "pairs"}, "unknown judge.method 'pairs'"),
        (["judge.models=[heuristic]"], {}, "one model judges by the rubric, and has to be an LLM"),
        (["generate.models=[embedded, openai:x@http://h/v1]"], {}, "one model writes the drafts"),
        (["judge.modles=x"], {}, "unknown key judge.modles"),
        (["budget.usd=5"], {}, "no price is known for openai:writer, openai:judge"),
        ([], {"paths": ["none.jsonl"]}, "none.jsonl does not exist"),
    ],
)
def test_mistakes(server: ChatServer, settings: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(CurateError) as error:
        call(server, *settings, **options)
    assert said in str(error.value)
    assert server.asked == []
    assert not Path("OUT").exists()


@pytest.mark.slow
def test_from_python_with_pairs_in_memory(server: ChatServer) -> None:
    pairs = curate.read("p.jsonl")
    options: dict[str, Any] = {"judge": server.line("judge"), "examples": 2, "held_out": 6, "drafts": 1}
    found = curate.rubric(pairs, {"model": "openai:writer", "base_url": server.url}, out="OUT", **options)
    assert (found["kept"], list(found["inputs"])) == (True, ["frame"])
    with pytest.raises(RecipeError, match="exampels"):
        curate.rubric(pairs, "openai:x", out="OUT", exampels=3)


@pytest.mark.slow
def test_the_result_names_no_address_and_no_folder(server: ChatServer, tmp_path: Path) -> None:
    call(server, paths=[str(tmp_path / "p.jsonl")], against=str(write_rubric(tmp_path)))
    text = Path("OUT/rubric.json").read_text()
    assert not re.search(r"127\.0\.0\.1|http", text)
    assert str(tmp_path) not in text


def write_rubric(folder: Path) -> Path:
    path = folder / "in_use.txt"
    path.write_text("Is it kind? 1: no. {scale}: yes.")
    return path
