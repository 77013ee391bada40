"""generate, judge and run from a user's view: examples, one-line errors, exit codes, output streams."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import yaml

from curate.cli import main
from curate.report import html
from pipelines.drafting import Drafting
from tests.chat_server import ChatServer, chat_server
from tests.pipelines.rubric_story import GOOD, POOR, Script, draft, labelled
from tests.pipelines.story import prompts, reply

PAIR = {"prompt": "What?", "chosen": "This is quality 3.", "rejected": "This is quality 1."}


class Done(NamedTuple):
    code: int
    out: str
    err: str


Curate = Callable[..., Done]


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server.forget()
    monkeypatch.setattr(html, "charted", lambda: ["chosen_words"])  # drawing takes most of the time
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def curate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Curate:
    """Return the command, run in this process because that starts faster."""

    def command(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        return Done(code if isinstance(code, int) else 0 if code is None else 1, *capsys.readouterr())

    return command


def recipe_file(**sections: Any) -> str:
    Path("recipe.yaml").write_text(yaml.safe_dump(sections))
    return "recipe.yaml"


@pytest.mark.parametrize("command", ["generate", "judge", "rubric", "run", "quickstart"])
def test_help_shows_an_example(curate: Curate, command: str) -> None:
    done = curate(command, "--help")
    assert done.code == 0
    assert "Example" in done.out
    assert f"curate {command} " in done.out.replace("Usage: curate", "")


# ---- what is printed ----


@pytest.mark.slow
def test_generate(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), "A long one?", count=2)
    done = curate("generate", "p.jsonl", "--model", server.line("a"), "-m", server.line("b"), "-n", "3", "-o", "RUN")
    assert done.code == 0
    assert [line.partition(": ")[2][:41] for line in done.err.splitlines()] == [
        "an answer was cut off after 14 of 1,024 t"
    ] * 2
    lines = done.out.splitlines()
    assert ["model", "answers", "cut", "off", "tokens,", "mean"] in [line.split() for line in lines]
    assert ["openai:b", "9", "3", "21"] in [line.split() for line in lines]
    assert "candidates RUN/candidates.parquet" in lines
    assert "next       curate run RUN/recipe.yaml -o RUN --set judge.models=MODEL" in lines
    assert len(pl.read_parquet("RUN/candidates.parquet")) == 18
    # The printed command works.
    done = curate("run", "RUN/recipe.yaml", "-o", "RUN", "--set", f"judge.models={server.line('judge')}")
    assert (done.code, done.err) == (0, "")
    assert "2 pairs (2 train, 0 test) from 3 prompts with 18 answers · 1 dropped" in done.out  # the long one is cut off
    assert len(server.asked) == 18 + 6 + 12


@pytest.mark.slow
def test_judge_a_run_and_continue(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    curate("generate", "p.jsonl", "--model", server.line("a"), "-o", "RUN")
    judges = [part for name in ("judge", "judge-first") for part in ("--judge", server.line(name))]
    done = curate("judge", "RUN", *judges, "--method", "pairwise", "-o", "RUN2")
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["Judges", "(pairwise)"] in lines
    assert ["openai:judge", "4", "0%", "100%", "50%", "100%", "–"] in lines
    assert ["openai:judge-first", "4", "100%", "0%", "100%", "–", "–"] in lines
    assert ["panel", "of", "2", "4", "0%", "–", "–"] in [line[:7] for line in lines]
    assert "next       curate run RUN2/recipe.yaml -o RUN2" in done.out.splitlines()
    asked = len(server.asked)
    done = curate("run", "RUN2/recipe.yaml", "-o", "RUN2")
    assert done.code == 0
    assert len(server.asked) == asked


def test_judge_pairs_again(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), PAIR, PAIR | {"prompt": "Which?"})
    done = curate("judge", "p.jsonl", "--judge", server.line("judge"), "--rubric", "honesty", "-o", "RUN")
    expected = ["openai:judge", "honesty", "4", "0%", "100%", "of", "2"]
    assert expected in [line.split() for line in done.out.splitlines()]
    assert "# honesty" in server.asked[0]["messages"][0]["content"]


@pytest.mark.slow
def test_json_prints_the_result(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    options = ["p.jsonl", "--model", server.line("a"), "-o", "RUN"]
    (line,) = json.loads(curate("generate", *options, "--dry-run", "--json").out)
    assert (line["stage"], line["requests"], line["known"], line["usd"]) == ("generate", 4, 0, None)
    generated = json.loads(curate("generate", *options, "--json").out)
    assert (generated["run"], generated["generation"]["answers"][0]["answers"]) == ("RUN", 4)
    judged = json.loads(curate("judge", "RUN", "--judge", server.line("judge"), "-o", "RUN2", "--json").out)
    assert judged["generation"]["judges"][0]["verdicts"] == 4
    finished = json.loads(curate("run", "RUN2/recipe.yaml", "-o", "RUN2", "--json").out)
    assert finished["counts"]["kept"] == 2


def test_dry_run_requests_and_writes_nothing(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=3)
    done = curate("generate", "p.jsonl", "--model", "openai:gpt-4o-mini", "-n", "2", "-o", "RUN", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert ["generate", "openai:gpt-4o-mini", "6", "0", "216", "18,432", "0.0111"] in [
        line.split() for line in done.out.splitlines()
    ]
    assert "$0.0111 at most" in done.out
    done = curate("generate", "p.jsonl", "--model", server.line("mine"), "-o", "RUN", "--dry-run")
    assert "no price is known for openai:mine" in done.out
    assert server.asked == []
    assert not Path("RUN").exists()


def test_dry_run_of_a_part_estimates_that_part(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    file = recipe_file(
        source={"paths": "p.jsonl"},
        generate={"models": server.line("writer")},
        judge={"models": server.line("judge")},
    )

    def stages(command: str) -> list[str]:
        return [line["stage"] for line in json.loads(curate(command, file, "-o", "RUN", "--dry-run", "--json").out)]

    assert stages("generate") == ["generate"]
    assert stages("judge") == stages("run") == ["generate", "judge"]
    curate("generate", file, "-o", "RUN")
    assert {body["model"] for body in server.asked} == {"writer"}
    assert "judge" in yaml.safe_load(Path("RUN/recipe.yaml").read_text())  # the whole recipe, to continue with


def test_options_override_the_recipe(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    file = recipe_file(source={"paths": "p.jsonl"}, generate={"models": "openai:x", "n": 9, "max_tokens": 5})
    options = ["-m", server.line("it's 1"), "-n", "1", "--set", "generate.max_tokens=7"]
    assert curate("generate", file, *options, "-o", "RUN").code == 0
    assert [(body["model"], body["max_tokens"]) for body in server.asked] == [("it's 1", 7)] * 2


def test_a_dry_run_of_existing_pairs(curate: Curate) -> None:
    prompts(Path("p.jsonl"), PAIR)
    assert (
        curate("run", recipe_file(source={"paths": "p.jsonl"}), "-o", "RUN", "--dry-run").out
        == "no requests to models\n"
    )


# ---- mistakes ----


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "p.jsonl"], "no model is given: use --model openai:NAME[@URL]"),
        (["judge", "pairs.jsonl"], "no model is given: use --judge openai:NAME[@URL]"),
        (["generate", "p.jsonl", "-m", "opnai:gpt-4o"], "unknown model 'opnai:gpt-4o'. Did you mean 'openai:'?"),
        (["generate", "p.jsonl", "-m", "gpt-4o"], "write 'openai:gpt-4o'"),
        (["generate", "p.jsonl", "-m", "openai:gpt-4o"], "the environment variable OPENAI_API_KEY is not set"),
        (["generate", "p.jsonl", "-m", "openai:a@http://h/v1", "-m", "openai:a@http://h/v1"], "is listed twice"),
        (["generate", "none.jsonl", "-m", "embedded"], "none.jsonl does not exist"),
        (["generate", "none.yaml", "-m", "embedded"], "none.yaml does not exist"),
        (["generate", "pairs.jsonl", "-m", "embedded", "--set", "source.format=xy"], "unknown format 'xy'"),
        (
            ["generate", "p.jsonl", "-m", "embedded", "--set", "generate.seeds=3"],
            "unknown key generate.seeds. Did you mean 'seed'?",
        ),
        (["generate", "judge.yaml"], "the recipe has no generate section"),
        (["judge", "generate.yaml"], "the recipe has no judge section"),
        (["run", "generate.yaml"], "generate: add a judge section"),
        (["run", "generate.yaml", "--dry-run"], "generate: add a judge section"),
        (["run", "judge.yaml", "--set", "pair.strategy=maxmin"], "pair.strategy: Input should be 'max_min'"),
        (["judge", "pairs.jsonl", "--judge", "heuristc"], "Did you mean 'heuristic'?"),
        (["judge", "pairs.jsonl", "--judge", "embedded", "--rubric", "mine.txt"], "unknown rubric 'mine.txt'"),
        (
            ["judge", "pairs.jsonl", "--judge", "embedded", "--method", "pairs"],
            "unknown judge.method 'pairs'. Did you mean 'pairwise'? Known: pairwise, rubric",
        ),
        (["rubric", "pairs.jsonl"], "Missing option '--model'"),
        (["rubric", "pairs.jsonl", "-m", "gpt-4o"], "write 'openai:gpt-4o'"),
        (["rubric", "pairs.jsonl", "-m", "openai:gpt-4o"], "the environment variable OPENAI_API_KEY is not set"),
        (["rubric", "pairs.jsonl", "-m", "embedded", "--judge", "heuristic"], "has to be an LLM"),
        (["rubric", "pairs.jsonl", "-m", "embedded", "--against", "mine.txt"], "unknown rubric 'mine.txt'"),
        (["rubric", "pairs.jsonl", "-m", "embedded", "--method", "pairs"], "Did you mean 'pairwise'?"),
        (["rubric", "pairs.jsonl", "-m", "embedded", "--held-out", "0"], "held_out: Input should be greater than"),
        (["rubric", "pairs.jsonl", "-m", "embedded", "--drafts", "1"], "124 labelled pairs with different prompts are"),
        (["rubric", "p.jsonl", "-m", "embedded"], "match no known format"),
        (["judge", "p.jsonl", "--judge", "heuristic"], "match no known format"),
        (["generate", "p.jsonl", "-m", "embedded", "-o", "p.jsonl"], "p.jsonl is a file; --out must be a folder"),
        (["generate", "p.jsonl", "-m", "embedded", "-o", "."], "is not empty and contains no run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(curate: Curate, arguments: list[str], said: str) -> None:
    prompts(Path("p.jsonl"), count=2)
    prompts(Path("pairs.jsonl"), PAIR)
    for name, section in (("generate", {"models": "embedded"}), ("judge", {"models": "heuristic"})):
        Path(f"{name}.yaml").write_text(yaml.safe_dump({"source": {"paths": "pairs.jsonl"}, name: section}))
    done = curate(*arguments, *([] if "-o" in arguments else ["-o", "RUN"]))
    assert said in done.err
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert not Path("RUN/stages/answers").exists()


def test_a_refused_key_exits_with_3(curate: Curate, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts(Path("p.jsonl"), count=2)
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with chat_server(lambda *_: 401) as server:
        options = ["-m", server.line("a"), "--set", "generate.n=1", "-o", "RUN"]
        done = curate("generate", "p.jsonl", *options)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "the key was refused (401)" in done.err
    assert "sk-secret" not in done.err


def test_too_many_failures_exit_with_3(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), "Please refuse.", count=1)
    done = curate("generate", "p.jsonl", "-m", server.line("a"), "-o", "RUN")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "generate: 2 of 4 answers failed (most often: status 400: refused with 400)" in done.err


def test_a_spent_budget_exits_with_1_and_keeps_the_answers(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=20)
    options = ["p.jsonl", "-m", server.line("a"), "-o", "RUN", "--set", "generate.max_tokens=50"]
    done = curate("generate", *options, "--set", "budget.tokens=1000")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "stopped at the budget" in done.err
    asked = len(server.asked)
    assert 0 < asked < 40
    assert curate("generate", *options).code == 0
    assert len(server.asked) == 40


@pytest.mark.slow
def test_nothing_kept_exits_with_1(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), "What is the same?", "What else is the same?")
    file = recipe_file(
        source={"paths": "p.jsonl"}, generate={"models": server.line("a")}, judge={"models": server.line("judge")}
    )
    done = curate("run", file, "-o", "RUN")
    assert done.code == 1
    assert "0 pairs (0 train, 0 test) from 2 prompts with 4 answers · 2 dropped" in done.out
    assert "every row was dropped" in Path("RUN/report.html").read_text("utf-8")


# ---- looking ahead ----


def test_check_asks_each_model_for_one_token(
    server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "reply", lambda _, params: (404, "no such model") if params["model"] == "b" else "Hi")
    prompts(Path("p.jsonl"), count=2)
    models = [part for name in ("a", "b", "a") for part in ("--model", server.line(name))]
    done = curate("generate", "p.jsonl", *models[:2], "-o", "RUN", "--check")
    assert done.code == 0
    assert re.fullmatch(rf"openai:a → {server.url}: answers, after \d\.\d s\n", done.out)
    assert [(body["messages"], body["max_tokens"]) for body in server.asked] == [
        ([{"role": "user", "content": "Hi"}], 1)
    ]
    done = curate("generate", "p.jsonl", *models[:4], "-o", "RUN", "--check", "--json")
    one, other = json.loads(done.out)
    assert (done.code, one["problem"]) == (3, None)
    assert other["problem"] == "404 (no such model). Is the address right (…/v1)?"
    assert not Path("RUN").exists()


def test_check_beside_dry_run(server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "reply", lambda *_: "Hi")
    prompts(Path("p.jsonl"), count=2)
    line = f"--model={server.line('a')}"
    done = curate("generate", "p.jsonl", line, "-o", "RUN", "--dry-run", "--check", "--json")
    assert sorted(json.loads(done.out)) == ["models", "requests"]
    done = curate("judge", "p.jsonl", "--judge", "heuristic", "-o", "RUN", "--check")
    assert (done.code, done.out) == (0, "no requests to models\n")


def test_an_address_that_cannot_be_read_is_refused_by_a_dry_run(curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    for line in ("openai:a@http://h:99999/v1", "openai:a@htp://h", "openai:a@:8000"):
        done = curate("generate", "p.jsonl", "--model", line, "-o", "RUN", "--dry-run")
        assert (done.code, done.err.count("\n"), "is not the address of an endpoint" in done.err) == (2, 1, True)


def test_dry_run_shows_what_is_expected_and_a_budget_that_is_too_small(server: ChatServer, curate: Curate) -> None:
    """Expected is what replies so far cost on average; nothing is known before the first."""
    prompts(Path("p.jsonl"), count=2)
    priced = ["--set", f'generate.models=[{{"model": "{server.line("a")}", "input_price": 1, "output_price": 1000}}]']
    options = ["generate", "p.jsonl", *priced, "-o", "RUN"]
    small = ["--set", "budget.usd=0.5"]
    before = curate(*options, *small, "--dry-run")
    assert "expected" not in before.out
    assert before.err == "budget.usd=0.5 is below the $12.2881 of the estimate; the run may stop there\n"
    curate(*options)
    more = ["--set", "generate.n=4"]
    (line,) = json.loads(curate(*options, *more, "--dry-run", "--json").out)
    assert (line["requests"], line["known"]) == (8, 4)
    assert 0 < line["usd_expected"] < line["usd"] / 10
    shown = curate(*options, *more, "--dry-run")
    assert "expected: by the length of the replies so far" in shown.out
    tiny = curate(*options, *more, "--set", "budget.usd=0.01", "--dry-run")
    assert tiny.err.endswith("the run will probably stop there\n")
    tokens = curate(*options, *more, "--set", "budget.tokens=10", "--dry-run")
    assert tokens.err.startswith("budget.tokens=10 is below the ")


# ---- judges ----


@pytest.mark.slow
def test_judge_again_and_raw_replies(server: ChatServer, curate: Curate) -> None:
    prompts(Path("p.jsonl"), count=2)
    recipe = recipe_file(
        source={"paths": "p.jsonl"}, generate={"models": [server.line("a")]}, judge={"models": [server.line("judge")]}
    )
    assert curate("run", recipe, "-o", "RUN").code == 0
    shown = curate("why", "RUN", "1", "--raw")
    assert 'openai:judge on openai:a\n{"reason": "It says 2.", "ratings": {"overall": 2}}' in shown.out
    server.forget()
    done = curate("judge", "RUN", "--again", "openai:judge")
    assert (done.code, [body["model"] for body in server.asked]) == (0, ["judge"] * 4)
    assert "2 pairs" in done.out
    server.forget()
    again = ["--again", "openai:judge"]
    for wrong in (["--again", "openai:jury"], [*again, "-o", "RUN2"], [*again, "--dry-run"], [*again, "--check"]):
        failed = curate("judge", "RUN", *wrong)
        assert (failed.code, failed.err.count("\n")) == (2, 1)
    assert server.asked == []
    without = curate("judge", "p.jsonl", "--judge", server.line("judge"))
    assert (without.code, "--out" in without.err) == (2, True)


# ---- rubrics ----

SIZES = ("--examples", "2", "--development", "3", "--held-out", "6", "--drafts", "2")


def rubric_options(server: ChatServer, *more: str) -> list[str]:
    labelled(Path("p.jsonl"))
    models = ["-m", server.line("writer"), "--judge", server.line("judge")]
    return ["rubric", "p.jsonl", *models, "-o", "RUB", *SIZES, *more]


def test_help_names_the_defaults_of_a_rubric(curate: Curate) -> None:
    shown = " ".join(re.sub("[│ ]+", " ", curate("rubric", "--help").out).split())
    for name, option in (("examples",) * 2, ("development",) * 2, ("held_out", "held-out"), ("chars",) * 2):
        default = Drafting.model_fields[name].default
        assert re.search(rf"--{option} <\w+> [^<]*\({default}\)", shown), name


def test_a_kept_rubric(server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "reply", Script(draft(POOR), draft(GOOD)))
    options = rubric_options(server)
    ahead = curate(*options, "--dry-run")
    assert (ahead.code, ahead.err, server.asked, Path("RUB").exists()) == (0, "", [], False)
    requests = [line.split()[:4] for line in ahead.out.splitlines()[1:3]]
    assert requests == [["draft", "openai:writer", "2", "0"], ["judge", "openai:judge", "36", "0"]]
    done = curate(*options)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    words = [line.split() for line in lines]
    assert "Rubrics, by 6 held-out pairs" in lines
    assert ["overall", "50.0%", "0%", "6", "0", "–", "–", "–"] in words
    assert [row[:6] for row in words if row[:2] == ["draft", "2"]] == [["draft", "2", "100.0%", "100%", "0", "0"]]
    assert "Drafts, by 3 other pairs" in lines
    assert [row for row in words if row and row[0] in ("1", "2")] == [["1", "50.0%"], ["2", "100.0%"]]
    assert "Kept: on 6 held-out pairs, verdicts by draft 2 agree with 100.0% of the labels" in " ".join(lines)
    assert "rubric RUB/rubric.txt (read it before you use it)" in lines
    (following,) = (line.split()[1:] for line in lines if line.startswith("next "))
    judged = curate(*(word.replace("RUN", "p.jsonl") if word == "RUN" else word for word in following[1:]))
    assert judged.code == 0
    assert "100% of 12" in judged.out.replace("\u00a0", " ")
    server.forget()
    again = curate(*options, "--json")
    assert (again.code, server.asked) == (0, [])
    found = json.loads(again.out)
    assert (found["folder"], found["kept"], found["draft"]) == ("RUB", True, 2)


def test_a_rubric_that_is_not_kept_exits_with_1(
    server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "reply", Script(draft(POOR)))
    done = curate(*rubric_options(server))
    assert done.code == 1
    assert "Not kept, for want of a gain: on 6 held-out pairs" in done.out
    assert "drafts RUB/draft-*.txt" in done.out
    assert not Path("RUB/rubric.txt").exists()
    assert json.loads(curate(*rubric_options(server, "--json")).out)["kept"] is False


def test_both_models_of_a_rubric_are_checked(
    server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "reply", lambda *_: "Hi")
    done = curate(*rubric_options(server, "--check", "--json"))
    assert [(one["model"], one["problem"]) for one in json.loads(done.out)] == [
        ("openai:writer", None), ("openai:judge", None),
    ]  # fmt: skip


def test_a_hostile_writer_reaches_no_terminal(
    server: ChatServer, curate: Curate, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\x7f"
    monkeypatch.setattr(server, "reply", Script(f"{evil} {evil}", draft(f"{evil} {GOOD}")))
    done = curate(*rubric_options(server))
    assert done.code == 0
    assert "]0;owned" in done.out
    for text in (done.out, done.err, Path("RUB/rubric.txt").read_text("utf-8")):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    monkeypatch.setattr(server, "reply", Script(evil))
    failed = curate(*rubric_options(server, "--set", "generate.seed=7"))
    assert (failed.code, failed.err.count("\n")) == (3, 1)
    assert r"“\x1b]0;owned" in failed.err
