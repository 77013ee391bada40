"""Whole runs against scripted models: every row is accounted for, no request is sent twice, nothing leaks."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError, RecipeError, ServiceError
from curate.report import html
from curate.report.summary import Summary
from curate.rundir.result import Run
from curate.schema import CANDIDATES, LEDGER, PAIR
from pipelines.flow import generate, judge, run
from tests.chat_server import Answer, ChatServer, Messages, chat_server
from tests.data import contents, plain
from tests.pipelines.story import prompts, recipe, reply, whole

pytestmark = pytest.mark.slow  # together they take a while

TROUBLE = (
    "What is the same for all?",
    "Please refuse this.",
    "How do I restore photo number 0 from last week's backup?",
    "{",
    "",
    "What is equal here?",
    "What stays unjudged here?",
    "Why does it leak?",
)


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _few_charts() -> Iterator[None]:
    """Charts take most of the time of such a small run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "charted", lambda: ["chosen_words"])
        yield


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer) -> None:
    server.reply = reply
    server.forget()


@pytest.fixture(scope="module")
def finished(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run three plain prompts, one per fault and two new ones: three answers each, all pairs, at most two kept."""
    folder = tmp_path_factory.mktemp("story")
    source = prompts(folder / "p.jsonl", count=3)
    with source.open("a") as file:
        file.writelines(f"{'{' if text == '{' else json.dumps({'prompt': text})}\n" for text in TROUBLE)
    wanted = whole(
        server,
        source,
        source={"max_bad_rows": 0.2},
        prompts={"model": server.line("maker"), "n": 2, "topics": ["billing"], "difficulties": ["easy"]},
        generate={"models": [server.line("writer")], "n": 3, "max_failed": 0.2},
        pair={"strategy": "all"},
        dedup={"max_pairs_per_prompt": 2},
    )
    return run(wanted, folder / "RUN")


# ---- every row ends in one place ----


def test_every_row_is_in_the_ledger(finished: Run) -> None:
    ledger = finished.ledger.collect()
    assert ledger.schema == LEDGER
    fates = ledger.select("source", "source_row", "stage", "rule").rows()
    three: list[tuple[str | None, str | None]] = [(None, None), (None, None), ("dedup", "max_pairs_per_prompt")]
    ends = [three, three, three]
    ends += [[("pair", "one_answer")], [("generate", "no_answer")], [("prompts", "duplicate_prompt")]]
    ends += [[("read", "broken_row")], [("read", "prompt_empty")], [("pair", "tie")], [("judge", "not_judged")]]
    ends += [[("rules", "no_chosen_template_leak")] * 3]
    expected = [("p.jsonl", number, *fate) for number, found in enumerate(ends) for fate in found]
    expected += [("prompts:self_instruct", number, *fate) for number in (0, 1) for fate in three]
    assert fates == expected


def test_counts_add_up(finished: Run) -> None:
    counts = finished.counts
    assert counts == {
        "rows": 25, "sets": 13, "answers": 30, "kept": 10, "dropped": 15, "train": 10, "validation": 0,
        "test": 0, "ledger": 25,
        "dropped_read": 2, "dropped_prompts": 1, "dropped_generate": 1, "dropped_judge": 1, "dropped_pair": 2,
        "dropped_rules": 3, "dropped_dedup": 5,
    }  # fmt: skip
    assert Summary(finished).funnel == [
        ("prompts and sets of answers", 13),
        ("readable", 11),
        ("distinct prompts to answer", 10),
        ("answered", 9),
        ("judged", 8),
        ("with a preference", 6),
        ("pairs built", 18),
        ("passed the rules", 15),
        ("deduplicated", 10),
    ]


def test_reasons_say_what_happened(finished: Run) -> None:
    reasons = dict(finished.ledger.select("rule", pl.col("reasons").list.join(" & ")).collect().iter_rows())
    assert reasons["duplicate_prompt"] == "duplicate_prompt: p.jsonl row 0"
    assert reasons["no_answer"] == "no_answer: status 400: refused with 400"
    assert reasons["one_answer"] == "one_answer: usable 3 of 3, different 1"
    assert reasons["not_judged"] == "not_judged: judged 0 of 3"
    assert reasons["tie"] == "tie: best 3.0, worst 3.0"
    assert finished.ledger.filter(pl.col("reasons").list.len() == 0).collect().get_column("kept").all()
    counted = {(reason.stage, reason.rule): (reason.first, reason.any) for reason in Summary(finished).reasons}
    assert counted["prompts", "duplicate_prompt"] == (1, 1)


def test_the_data_of_the_run(finished: Run) -> None:
    train = finished.train.collect()
    assert train.schema == PAIR
    first = train.row(0, named=True)
    assert (first["chosen_score"], first["rejected_score"]) == (3.0, 1.0)
    assert (first["chosen_model"], first["rejected_model"]) == ("openai:writer", "openai:writer")
    kept = finished.ledger.filter("kept").collect().get_column("pair_id")
    assert kept.equals(train.get_column("pair_id"))
    table = pl.read_parquet(finished.folder / "candidates.parquet")
    assert table.schema == CANDIDATES
    assert len(table) == 30
    # As the card says, the pairs' answers are candidates.
    ids = {json.loads(extra)[f"{side}_candidate_id"] for extra in train["extra"] for side in ("chosen", "rejected")}
    assert ids <= set(table.get_column("candidate_id"))


def test_the_manifest_describes_the_generation(finished: Run) -> None:
    generation = finished.manifest.generation
    assert generation["answers"] == [
        {
            "model": "openai:writer",
            "answers": 30,
            "failed": 3,
            "cut_off": 0,
            "without_text": 0,
            "problem": "status 400: refused with 400",
            "on_policy": False,
            "mean_tokens": 20.3,
        }
    ]
    assert (generation["prompts"]["kept"], generation["prompts"]["topics"]) == (2, {"billing": 2})
    (judged,) = generation["judges"]
    assert (judged["judge"], judged["verdicts"], judged["null_rate"]) == ("openai:judge", 27, 3 / 27)
    assert judged["tie_rate"] == 6 / 24  # the answers that are the same, and those that are called equal
    assert judged["length_bias"] == 1.0
    assert {row["model"]: row["requests"] for row in generation["requests"]} == {
        "openai:judge": 27 - 2 + 3, "openai:maker": 1, "openai:writer": 27,  # equal ones once, three repairs
    }  # fmt: skip
    assert finished.manifest.inputs["p.jsonl"].rows == 11


def test_why(finished: Run) -> None:
    (row,) = finished.why(4)
    assert (row["stage"], plain(row["prompt"])) == ("generate", [{"role": "user", "content": "Please refuse this."}])
    assert len(finished.why(0)) == 6  # three pairs of the source's row 0, three of the first new prompt


# ---- again ----


def test_the_same_command_requests_only_failures_again(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "Please refuse this.", count=2)
    wanted = whole(server, source, generate={"models": [server.line("writer")], "max_failed": 0.5})
    first = run(wanted, tmp_path / "RUN")
    assert first.counts["dropped_generate"] == 1
    server.forget()
    before = contents(tmp_path / "RUN")
    run(wanted, tmp_path / "RUN")
    assert Counter(body["model"] for body in server.asked) == {"writer": 2}
    assert contents(tmp_path / "RUN") == before

    def mended(messages: Messages, params: Mapping[str, Any]) -> Answer:
        mild = [{**message, "content": message["content"].replace("refuse", "answer")} for message in messages]
        return reply(mild, params)

    server.forget()
    server.reply = mended
    last = run(wanted, tmp_path / "RUN")
    assert Counter(body["model"] for body in server.asked) == {"writer": 2, "judge": 2}
    assert (last.counts["kept"], last.counts["dropped"]) == (3, 0)
    server.forget()
    run(wanted, tmp_path / "RUN")
    assert server.asked == []


def test_an_interrupted_run_resumes_to_the_same_bytes(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=6)
    sections: dict[str, Any] = {
        "prompts": {"model": server.line("maker"), "n": 3, "description": "Backups"},
        "judge": {"models": [server.line("judge"), server.line("judge-2")], "method": "pairwise"},
        "pair": {"strategy": "max_random_lower"},
    }
    run(whole(server, source, **sections), tmp_path / "WHOLE")
    asked = len(server.asked)
    answered = Counter[str]()
    remaining = 0

    def dying(messages: Messages, params: Mapping[str, Any]) -> Answer:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            return 401
        answered[json.dumps([messages, params], sort_keys=True)] += 1
        return reply(messages, params)

    server.reply = dying
    starts = 0
    while not (tmp_path / "RUN" / "manifest.json").is_file():
        remaining = asked // 4
        starts += 1
        with contextlib.suppress(ServiceError):
            run(whole(server, source, **sections), tmp_path / "RUN")
    assert starts > 2
    assert set(answered.values()) == {1}
    assert contents(tmp_path / "RUN") == contents(tmp_path / "WHOLE")


def test_a_data_set_from_a_description_alone(server: ChatServer, tmp_path: Path) -> None:
    section = {"model": server.line("maker"), "description": "Backups", "n": 3}
    finished = run(whole(server, None, prompts=section), tmp_path / "RUN")
    assert finished.counts["kept"] == 3
    assert list(finished.manifest.inputs) == ["prompts:self_instruct"]
    assert "# Preference pairs\n" in finished.card.read_text("utf-8")


def test_requests_after_an_edit(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", count=4)
    mine = tmp_path / "mine.txt"
    mine.write_text("1: bad. {scale}: good.")
    judge_ = {"models": [server.line("judge")], "rubric": str(mine)}

    def asked(**sections: Any) -> dict[str, int]:
        server.forget()
        do = run if {"pair", "rules"} & set(sections) else judge
        do(whole(server, source, **{"judge": judge_, **sections}), tmp_path / "RUN")
        return dict(Counter(body["model"] for body in server.asked))

    writer = {"models": [server.line("writer")]}
    assert asked() == {"writer": 8, "judge": 8}
    assert asked(pair={"strategy": "all", "min_margin": 0.5}) == {}
    assert asked(rules={"max_chosen_words": 50}) == {}
    mine.write_text("1: awful. {scale}: good.")
    assert asked() == {"judge": 8}
    assert asked(judge=judge_ | {"models": [server.line("judge"), server.line("judge-2")]}) == {"judge-2": 8}
    assert asked(generate=writer | {"n": 3}) == {"writer": 4, "judge": 4}
    assert asked(generate=writer | {"temperatures": [0.1]}) == {"writer": 8, "judge": 8}
    assert asked(generate=writer | {"systems": ["Be brief."]}) == {"writer": 8}  # the same answers, already judged
    prompts(source, "One prompt more?", count=4)
    assert asked() == {"writer": 2, "judge": 2}


def test_generate_then_judge_then_run(server: ChatServer, tmp_path: Path) -> None:
    wanted = whole(server, prompts(tmp_path / "p.jsonl", count=2))
    generation = generate(wanted, tmp_path / "RUN")["generation"]
    assert {body["model"] for body in server.asked} == {"writer"}
    assert "judges" not in generation
    assert pl.read_parquet(tmp_path / "RUN" / "candidates.parquet").get_column("score").null_count() == 4
    assert not (tmp_path / "RUN" / "manifest.json").exists()
    server.forget()
    generation = judge(wanted, tmp_path / "RUN")["generation"]
    assert {body["model"] for body in server.asked} == {"judge"}
    assert generation["judges"][0]["verdicts"] == 4
    assert pl.read_parquet(tmp_path / "RUN" / "candidates.parquet").get_column("score").to_list() == [1, 2, 1, 2]
    server.forget()
    assert run(wanted, tmp_path / "RUN").counts["kept"] == 2
    assert server.asked == []


# ---- reports of judges ----


def test_reports_of_judges_over_pairs_that_are_judged_again(server: ChatServer, tmp_path: Path) -> None:
    """In three of four pairs the better answer is chosen; one judge detects it, one decides by position only."""
    good, bad = "The photo is back. This is quality 4.", "Maybe. This is quality 2, and much longer than the other one."
    lines = [{"prompt": f"What about {n}?", "chosen": good, "rejected": bad} for n in range(3)]
    lines.append({"prompt": "And this?", "chosen": bad, "rejected": good})
    source = prompts(tmp_path / "p.jsonl", *lines)
    panel = [server.line("judge"), server.line("judge-first")]
    found = run(recipe(source, judge={"models": panel, "method": "pairwise"}), tmp_path / "RUN")
    one, two, both = found.manifest.generation["judges"]
    assert (one["position_consistency"], one["tie_rate"], one["first_position_rate"]) == (1.0, 0.0, 0.5)
    assert (one["human_agreement"], one["human_pairs"], one["length_bias"]) == (0.75, 4, 0.0)
    assert (two["position_consistency"], two["tie_rate"], two["first_position_rate"]) == (0.0, 1.0, 1.0)
    assert (two["human_agreement"], two["human_ties"], two["length_bias"]) == (None, 4, None)
    assert (both["human_agreement"], both["human_pairs"], both["tie_rate"]) == (0.75, 4, 0.0)
    panel_ = found.manifest.generation["panel"]
    assert (panel_["statistic"], panel_["items"], panel_["agreement"], panel_["kappa"]) == ("cohen", 4, 0.0, 0.0)
    assert found.train.collect().select("chosen_score", "rejected_score").rows() == [(0.75, 0.25)] * 4
    chosen = [turns[0]["content"] for turns in found.train.collect().get_column("chosen").to_list()]
    assert chosen == [good] * 4  # the last pair is flipped
    assert json.loads(found.train.collect().item(0, "extra"))["judge"] == "openai:judge, openai:judge-first"


def test_reports_follow_the_labels_of_an_edited_source(server: ChatServer, tmp_path: Path) -> None:
    """The answers are unchanged, so nothing is sent; only the labels differ."""
    vote = {"response_a": "This is quality 1.", "response_b": "This is quality 3."}
    columns = {name: name for name in ("prompt", *vote, "winner")}

    def labelled(winner: str) -> Any:
        lines = [vote | {"prompt": f"{n}?", "winner": winner} for n in range(2)]
        source = prompts(tmp_path / "p.jsonl", *lines, vote | {"prompt": "What?", "winner": "b"})
        wanted = recipe(source, source={"columns": columns}, judge={"models": [server.line("judge")]})
        return judge(wanted, tmp_path / "RUN")["generation"]["judges"][0]["human_pairs"]

    assert labelled("b") == 3
    server.forget()
    assert labelled("tie") == 1
    assert server.asked == []


def test_the_old_scores_and_columns_of_pairs_are_not_lost(server: ChatServer, tmp_path: Path) -> None:
    pair = {"prompt": "What?", "chosen": "quality 3", "rejected": "quality 1", "chosen_score": 9, "topic": "x"}
    source = prompts(tmp_path / "p.jsonl", {**pair, "rejected_score": 2, "chosen_model": "m"})
    settings = {"models": [server.line("judge")]}
    found = run(recipe(source, judge=settings, rules={"defaults": False}), tmp_path / "RUN").train.collect()
    assert found.select("chosen_score", "rejected_score", "chosen_model").rows() == [(3.0, 1.0, "m")]
    assert json.loads(found.item(0, "extra"))["source"] == {"topic": "x"}


# ---- errors ----


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"generate": {"models": "openai:w"}}, "generate: add a judge section"),
        ({"generate": {"models": "openai:w", "n": 1}, "judge": {"models": "heuristic"}}, "one answer per prompt"),
        (
            {"generate": {"models": "openai:w"}, "pair": {"strategy": "delta", "order": ["openai:w", "openai:v"]}},
            "unknown model in pair.order 'openai:v'. Did you mean 'openai:w'?",
        ),
        (
            {
                "generate": {"models": "openai:w"},
                "judge": {"models": "heuristic"},
                "pair": {"strategy": "best_of_on_policy"},
            },
            "best_of_on_policy needs at least two answers of a model with on_policy: true",
        ),
        (
            {"generate": {"models": ["openai:w@http://a/v1"]}, "judge": {"models": ["openai:w@http://b/v1"]}},
            "openai:w has two addresses in the recipe, http://a/v1 and http://b/v1",
        ),
        (
            {"generate": {"models": ["openai:w@http://a/v1"]}, "judge": {"models": ["openai:w"]}},
            "two addresses in the recipe, http://a/v1 and the default",
        ),
        (
            {"generate": {"models": ["gguf:a/x.gguf", "gguf:b/x.gguf"]}, "judge": {"models": "heuristic"}},
            "two models would both be published as gguf:x.gguf",
        ),
        (
            {"generate": {"models": "gguf:none.gguf"}, "judge": {"models": "heuristic"}},
            "does not exist, or is not a file",
        ),
        ({"generate": {"models": "gpt-4o"}, "judge": {"models": "heuristic"}}, "write 'openai:gpt-4o'"),
        ({"generate": {"models": "opnai:gpt-4o"}, "judge": {"models": "heuristic"}}, "Did you mean 'openai:'?"),
        ({"generate": {"models": "openai:w"}, "judge": {"models": "heuristc"}}, "Did you mean 'heuristic'?"),
        ({"generate": {"models": "heuristic"}, "judge": {"models": "heuristic"}}, "unknown model 'heuristic'"),
        ({"generate": {"models": "openai:w"}, "judge": {"models": "reward:"}}, "unknown model 'reward:'"),
        ({"generate": {"models": "openai:w"}, "judge": {"models": "openai:"}}, "unknown model 'openai:'"),
        ({"judge": {"models": "openai:j", "rubric": "overal"}}, "Did you mean 'overall'?"),
        ({"judge": {"models": "openai:j"}, "budget": {"usd": 1, "prices": "no.yaml"}}, "no.yaml does not exist"),
    ],
)
def test_invalid_recipes_fail_before_any_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises((RecipeError, InputError)) as caught:
        run(recipe(prompts(tmp_path / "p.jsonl", count=2), **sections), tmp_path / "RUN")
    assert said in str(caught.value)
    assert not (tmp_path / "RUN").exists()


def test_pairs_need_scores(tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", {"prompt": "a?", "chosen": "b", "rejected": "c"})
    with pytest.raises(RecipeError, match="no answer has a score: add a judge section"):
        run(recipe(source, pair={"strategy": "max_min"}), tmp_path / "RUN")


def test_too_many_failures_stop_the_run(server: ChatServer, tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "Please refuse this.", count=2)
    with pytest.raises(ServiceError, match=r"generate: 2 of 6 answers failed"):
        run(whole(server, source), tmp_path / "RUN")
    source = prompts(tmp_path / "q.jsonl", count=2)
    broken = {"models": [server.line("judge-broken"), server.line("judge")], "max_failed": 0.4}
    with pytest.raises(ServiceError, match=r"judge: 4 of 8 verdicts failed"):
        run(whole(server, source, judge=broken), tmp_path / "RUN2")
    assert run(whole(server, source, judge=broken | {"max_failed": 0.5}), tmp_path / "RUN2").counts["kept"] == 2


def test_a_run_of_another_source_is_not_overwritten(server: ChatServer, tmp_path: Path) -> None:
    run(whole(server, prompts(tmp_path / "p.jsonl", count=2)), tmp_path / "RUN")
    other = whole(server, prompts(tmp_path / "q.jsonl", count=3))
    with pytest.raises(RecipeError, match="contains a run of another recipe"):
        run(other, tmp_path / "RUN")
    assert run(other, tmp_path / "RUN", force=True).counts["kept"] == 3


# ---- trust ----

EVIL = "</pre><script>alert(1)</script> | a | `b` [x](http://evil)\n---\nlicense: evil\n\n# Heading {{ 7 * 7 }}"


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    def evil(messages: Messages, params: Mapping[str, Any]) -> Answer:
        if "topics" in messages[-1]["content"]:
            return json.dumps([EVIL.replace("\n", " "), "plain"])
        said = reply(messages, params)
        if isinstance(said, str) and "judge" in params["model"]:
            return said.replace("It says", json.dumps(EVIL)[1:-1])
        return f"{said} {EVIL}" if isinstance(said, str) and "writer" in params["model"] else said

    with chat_server(evil) as server:
        names = {name: server.line(f"{name}<b>|`</b>\n---") for name in ("writer", "judge", "maker")}
        wanted = recipe(
            prompts(tmp_path / "p <b>`|.jsonl", {"prompt": f"What is this? {EVIL}", "topic": EVIL}, count=2),
            prompts={"model": names["maker"], "n": 2, "description": EVIL},
            generate={"models": [names["writer"]], "n": 3},
            judge={"models": [names["judge"]]},
            rules={"defaults": False},
        )
        finished = run(wanted, tmp_path / "RUN")
    assert finished.counts["kept"] == 5
    html = finished.report.read_text("utf-8")
    assert "<script" not in html
    assert "alert(1)&lt;/script&gt;" in html
    card = finished.card.read_text("utf-8")
    assert "evil" not in card.split("---\n")[1]
    body = card.split("---\n", 2)[2]
    section = body.split("## How the pairs were generated")[1].split("## Processing")[0]
    assert "<" not in section
    assert "](" not in section
    assert not [line for line in section.splitlines() if line.startswith(("---", "# ", "license"))]
    rows = [line for line in section.splitlines() if line.startswith("| openai:")]
    assert [line.count("|") for line in rows] == [4, 6, 5, 5, 5]


def test_a_run_contains_no_local_paths(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-key")
    monkeypatch.chdir(tmp_path)
    prompts(tmp_path / "p.jsonl", count=2)
    model = {"model": "openai:writer", "base_url": server.url, "api_key_env": "OPENAI_API_KEY"}
    run(whole(server, "p.jsonl", generate={"models": [model]}), "RUN")
    for file in Path("RUN").rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            if file.suffix == ".parquet":
                text += pl.read_parquet(file).write_json().encode()
            assert str(tmp_path).encode() not in text, file
            assert b"sk-the-key" not in text, file
