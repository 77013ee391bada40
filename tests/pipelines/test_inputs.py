"""Inputs of a run: prompts read or generated, pairs judged again, candidates of another run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError, ServiceError
from curate.recipe.load import Recipe, make_recipe
from curate.rundir.stage import Stage
from curate.rundir.store import Store
from curate.schema import CANDIDATES
from curate.sources import jsonl
from pipelines import inputs
from pipelines.clients.requests import Reply, Request
from pipelines.flow import generate, judge, run
from pipelines.inputs import answers_of, labels_of, read_origin
from tests.chat_server import ChatServer, Messages, chat_server
from tests.data import row, rows, write_jsonl
from tests.pipelines.story import make_prompts, prompts, recipe, reply, whole

LINE = "openai:m"
ANSWERED: dict[str, Any] = {"generate": {"models": LINE}}


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(reply) as running:
        yield running


def read(tmp_path: Path, recipe: Recipe, ask: Any = None) -> Stage:
    return read_origin(Store(tmp_path / "RUN"), recipe, ask)


def seen(stage: Stage) -> list[tuple[Any, ...]]:
    return stage.scan().select("source", "source_row", "problem", "detail").collect().rows()


def texts(stage: Stage) -> list[str | None]:
    asked = pl.col("prompt").list.last().struct.field("content")
    return stage.scan().select(asked).collect().to_series().to_list()


def candidates_of(stage: Stage) -> pl.DataFrame:
    return pl.concat(answers_of(pl.read_parquet(part)) for part in stage.parts())


class Maker:
    """Generates prompts and counts requests."""

    def __init__(self, failing: int = 0) -> None:
        self.asked, self.failing = 0, failing

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += len(requests)
        return [self._one(request.messages) for request in requests]

    def _one(self, messages: Messages) -> Reply:
        if self.failing:
            self.failing -= 1
            return Reply(None, error="status 400")
        return Reply(str(make_prompts(messages)), "stop", 1, 1)


# ---- prompts that are read ----


def test_prompts_of_several_shapes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("How do I log in?\n\nHow do I log out?\n")
    write_jsonl(tmp_path / "b.jsonl", [{"prompt": "Where is my bill?", "topic": "billing"}])
    write_jsonl(tmp_path / "c.jsonl", [row(1)])
    stage = read(tmp_path, recipe(tmp_path / "*.*", **ANSWERED))
    assert texts(stage) == ["How do I log in?", "How do I log out?", "Where is my bill?", row(1)["prompt"]]
    assert stage.info is not None
    assert {name: found["format"] for name, found in stage.info["inputs"].items()} == {
        "a.txt": "prompts", "b.jsonl": "prompts", "c.jsonl": "preference",
    }  # fmt: skip
    extra = stage.scan().select("extra").collect().to_series().to_list()
    assert extra[2] == '{"topic":"billing"}'


def test_the_second_of_two_equal_prompts_is_not_answered_again(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": "one"}, {"prompt": "two"}, {"prompt": "one"}])
    write_jsonl(tmp_path / "b.jsonl", [{"prompt": "two"}, {"prompt": " two"}])
    assert seen(read(tmp_path, recipe(tmp_path / "*.jsonl", **ANSWERED))) == [
        ("a.jsonl", 0, None, None),
        ("a.jsonl", 1, None, None),
        ("a.jsonl", 2, "duplicate_prompt", "a.jsonl row 0"),
        ("b.jsonl", 0, "duplicate_prompt", "a.jsonl row 1"),
        ("b.jsonl", 1, None, None),
    ]


def test_broken_rows_stay_in_the_stage(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "one"}, "{", {"prompt": None}, {"prompt": " "}])
    wanted = recipe(source, **ANSWERED)
    lenient = wanted.model_copy(update={"source": wanted.source.model_copy(update={"max_bad_rows": 0.5})})
    problems = [problem for _, _, problem, _ in seen(read(tmp_path, lenient))]
    assert problems == [None, "broken_row", "missing_prompt", "prompt_empty"]
    with pytest.raises(InputError, match=r"1 of 4 rows cannot be read"):
        read(tmp_path, wanted)


def test_sets_from_own_tables_get_unique_source_and_row(tmp_path: Path) -> None:
    """A prompt with several pairs occurs several times in a run's data, with the same source and row."""
    three = [row(1), row(1, chosen="Another good answer."), row(2)]
    for number, pair in enumerate(three):
        message = {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
        prompt = [{"role": "user", "content": pair["prompt"]}]
        ids = {"pair_id": "x", "prompt_id": "y", "source": "old.jsonl", "source_row": 7 if number < 2 else 8}
        nulls = dict.fromkeys(["chosen_score", "rejected_score", "strength", "chosen_model", "rejected_model", "extra"])
        three[number] = {**ids, "prompt": prompt, **message, **nulls}
    source = write_jsonl(tmp_path / "data.jsonl", three)
    again = read(tmp_path / "judged", recipe(source, judge={"models": "heuristic"}))
    assert seen(again) == [("old.jsonl", 7, None, None), ("old.jsonl #2", 7, None, None), ("old.jsonl", 8, None, None)]
    answered = read(tmp_path / "answered", recipe(source, **ANSWERED))
    assert seen(answered)[1] == ("old.jsonl #2", 7, "duplicate_prompt", "old.jsonl row 7")


def test_parts_have_the_size_of_a_batch_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SETS_PER_PART", 2)
    stage = read(tmp_path, recipe(prompts(tmp_path / "p.jsonl", count=5), **ANSWERED))
    assert [len(pl.read_parquet(part)) for part in stage.parts()] == [2, 2, 1]


# ---- prompts that are generated ----


def generating(source: Path | None, **settings: Any) -> Recipe:
    section = {"model": LINE, "description": "Support of a photo backup", "n": 6, **settings}
    return recipe(source, prompts=section, **ANSWERED)


def test_new_prompts_come_after_the_seeds(tmp_path: Path) -> None:
    stage = read(tmp_path, generating(prompts(tmp_path / "p.jsonl", count=2)), Maker())
    assert [(name, number, problem) for name, number, problem, _ in seen(stage)] == [
        ("p.jsonl", 0, None), ("p.jsonl", 1, None), *(("prompts:self_instruct", number, None) for number in range(6)),
    ]  # fmt: skip
    assert stage.info is not None
    assert (stage.info["rows"], stage.info["generated"]["kept"]) == (8, 6)
    assert stage.info["inputs"]["prompts:self_instruct"]["rows"] == 6
    extra = json.loads(stage.scan().select("extra").collect().item(2, 0))
    assert (extra["model"], extra["topic"] in ("billing", "sharing albums", "restoring photos")) == (LINE, True)


def test_with_seeds_false_seeds_are_not_answered(tmp_path: Path) -> None:
    source = prompts(tmp_path / "p.jsonl", "", count=1)
    found = seen(read(tmp_path, generating(source, with_seeds=False), Maker()))
    assert found[:2] == [
        ("p.jsonl", 0, "seed", "prompts.with_seeds is false"),
        ("p.jsonl", 1, "prompt_empty", "the last user turn is blank"),
    ]
    assert [problem for *_, problem, _ in found[2:]] == [None] * 6


def test_prompts_from_a_description_alone(tmp_path: Path) -> None:
    assert len(seen(read(tmp_path, generating(None), Maker()))) == 6


def test_prompts_are_generated_once_and_again_after_a_change(tmp_path: Path) -> None:
    def asked(folder: str, **change: Any) -> int:
        maker = Maker()
        read(tmp_path / folder, generating(None), maker)
        before = maker.asked
        read(tmp_path / folder, generating(None, **change), maker)
        return maker.asked - before

    assert asked("same") == 0
    assert asked("how", model={"model": LINE, "concurrency": 3, "timeout": 7}) == 0
    assert asked("description", description="Other") > 0
    assert asked("temperature", model={"model": LINE, "temperature": 0.1}) > 0
    assert asked("seed", seed=5) > 0


def test_a_changed_document_is_used_again(tmp_path: Path) -> None:
    document = tmp_path / "manual.md"
    maker = Maker()
    for text in ("Photos are kept for a year.", "Photos are kept for two years."):
        document.write_text(text)
        before = maker.asked
        read(tmp_path, generating(None, method="documents", documents=str(document)), maker)
        assert maker.asked > before


def test_prompts_missing_due_to_failures_are_requested_again(tmp_path: Path) -> None:
    wanted = generating(None, n=20, topics=["billing"], difficulties=["easy"])
    few = read(tmp_path, wanted, Maker(failing=3))
    assert few.info is not None
    assert 0 < few.info["generated"]["kept"] < 20
    again = Maker()
    read(tmp_path, wanted, again)
    assert again.asked > 0


def test_a_model_without_usable_prompts(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"none of \d+ requests to openai:m was answered"):
        read(tmp_path, generating(None), Maker(failing=100))

    def silly(requests: Sequence[Request]) -> list[Reply]:
        return [Reply("Sure!", "stop", 1, 1) for _ in requests]

    with pytest.raises(InputError, match=r"openai:m returned no usable prompt \(\d+ bad replies\)"):
        read(tmp_path, generating(None), silly)


# ---- pairs that are judged again ----


def test_both_sides_of_a_pair_are_its_answers(tmp_path: Path) -> None:
    lines_ = [row(0), row(1, chosen=None), row(2, chosen_score=3, rejected_score=3), row(3, extra_column=5)]
    stage = read(tmp_path, recipe(write_jsonl(tmp_path / "p.jsonl", lines_), judge={"models": "heuristic"}))
    block = pl.read_parquet(stage.part(0))
    answers = answers_of(block)
    assert answers.schema == CANDIDATES
    assert answers.get_column("source_row").to_list() == [0, 0, 2, 2, 3, 3]
    contents = [turns[0]["content"] for turns in answers.get_column("response").to_list()]
    assert contents[:2] == [row(0)["chosen"], row(0)["rejected"]]
    assert answers.get_column("score").null_count() == 6
    labels = labels_of(block)
    ids = answers.get_column("candidate_id")
    assert labels.select("source_row", "better_id", "worse_id").rows() == [
        (0, ids[0], ids[1]), (2, ids[2], ids[3]), (3, ids[4], ids[5]),
    ]  # fmt: skip


def test_ties_of_the_source_are_judged_but_are_not_labels(tmp_path: Path) -> None:
    """A tie is a row without a preference; a judge may still prefer one side."""
    votes = [
        {"prompt": f"How about {winner}?", "response_a": "One.", "response_b": "Two.", "winner": winner}
        for winner in ("a", "b", "tie")
    ]
    source = write_jsonl(tmp_path / "p.jsonl", votes)
    columns = {name: name for name in votes[0]}
    tree = {"source": {"paths": [str(source)], "columns": columns}, "judge": {"models": "heuristic"}}
    stage = read(tmp_path, make_recipe(tree))
    assert [problem for *_, problem, _ in seen(stage)] == [None, None, "tie"]
    block = pl.read_parquet(stage.part(0))
    assert answers_of(block).get_column("source_row").to_list() == [0, 0, 1, 1, 2, 2]
    labels = labels_of(block)
    assert labels.get_column("source_row").to_list() == [0, 1]
    by_id = dict(answers_of(block).select("candidate_id", "response").iter_rows())
    assert [by_id[better][0]["content"] for better in labels.get_column("better_id")] == ["One.", "Two."]


# ---- candidates of another run ----


@pytest.fixture(scope="module")
def before(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with candidates: five prompts (one of them fails), three answers each, judged."""
    folder = tmp_path_factory.mktemp("before")
    source = prompts(folder / "p.jsonl", "Please refuse this.", count=4)
    wanted = whole(server, source, generate={"models": [server.line("writer")], "n": 3, "max_failed": 1})
    judge(wanted, folder / "RUN")
    return folder / "RUN"


def test_candidates_are_read_as_they_are(before: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(before / "candidates.parquet")
    assert table.schema == CANDIDATES
    stage = read(tmp_path, recipe(before / "candidates.parquet", judge={"models": "heuristic"}))
    assert candidates_of(stage).equals(table)
    assert seen(stage) == [("p.jsonl", number, None, None) for number in range(5)]
    assert stage.info is not None
    assert stage.info["inputs"]["candidates.parquet"]["format"] == "candidates"


def test_candidates_as_jsonl(before: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(before / "candidates.parquet")
    table.write_ndjson(tmp_path / "c.jsonl")
    stage = read(tmp_path, recipe(tmp_path / "c.jsonl", judge={"models": "heuristic"}))
    assert candidates_of(stage).equals(table)


def test_candidates_need_only_a_few_columns(before: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(before / "candidates.parquet")
    few = ["prompt_id", "prompt", "candidate_id", "response", "source", "source_row"]
    table.select(*few, pl.lit(3).alias("mine")).write_ndjson(tmp_path / "c.jsonl")
    stage = read(tmp_path, recipe(tmp_path / "c.jsonl", judge={"models": "heuristic"}))
    found = candidates_of(stage)
    assert found.schema == CANDIDATES
    assert found.select(few).equals(table.select(few))


def test_sets_that_straddle_blocks(before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.read_parquet(before / "candidates.parquet")
    table.write_ndjson(tmp_path / "c.jsonl")
    monkeypatch.setattr(jsonl, "MAX_BLOCK_ROWS", 2)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 1)
    monkeypatch.setattr(inputs, "SETS_PER_PART", 2)
    stage = read(tmp_path, recipe(tmp_path / "c.jsonl", judge={"models": "heuristic"}))
    assert len(stage.parts()) > 2
    assert seen(stage) == [("p.jsonl", number, None, None) for number in range(5)]
    assert candidates_of(stage).equals(table)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: pl.concat([t.slice(0, 1), t.slice(3, 3), t.slice(1, 2)]), "are not contiguous"),
        (lambda t: t.with_columns(source_row=pl.lit(None, pl.UInt64)), "source_row must not be null"),
        (lambda t: t.with_columns(source_row=0), "row 0 has different prompts"),
        (lambda t: t.with_columns(candidate_id=pl.lit("x")), "row 0 has different answers of one id"),
        (lambda t: t.with_columns(response=pl.lit("text")), "does not contain candidates"),
    ],
)
def test_invalid_tables_of_candidates(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, said: str
) -> None:
    monkeypatch.setattr(jsonl, "MAX_BLOCK_ROWS", 3)
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 1)
    spoil(pl.read_parquet(before / "candidates.parquet")).write_ndjson(tmp_path / "c.jsonl")
    with pytest.raises(InputError, match=said):
        read(tmp_path, recipe(tmp_path / "c.jsonl", judge={"models": "heuristic"}))


def test_one_set_in_two_files(before: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(before / "candidates.parquet")
    for name in "ab":
        table.write_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"b.parquet: the answers to p.jsonl row 0 .*in another file"):
        read(tmp_path, recipe(tmp_path / "*.parquet", judge={"models": "heuristic"}))


def test_a_broken_line_of_candidates(before: Path, tmp_path: Path) -> None:
    pl.read_parquet(before / "candidates.parquet").write_ndjson(tmp_path / "c.jsonl")
    with (tmp_path / "c.jsonl").open("a") as file:
        file.write("{\n")
    with pytest.raises(InputError, match=r"c.jsonl: line 16: invalid JSON"):
        read(tmp_path, recipe(tmp_path / "c.jsonl", judge={"models": "heuristic"}))


def test_another_judge_over_the_candidates_of_a_run(server: ChatServer, before: Path, tmp_path: Path) -> None:
    source = before / "candidates.parquet"
    wanted = recipe(source, judge={"models": [server.line("judge-first")], "method": "pairwise"})
    server.forget()
    report = judge(wanted, tmp_path / "RUN")
    assert {body["model"] for body in server.asked} == {"judge-first"}
    assert [row["judge"] for row in report["generation"]["judges"]] == ["openai:judge-first"]
    again = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert again.drop("score", "scores", "reason", "judge").equals(
        pl.read_parquet(source).drop("score", "scores", "reason", "judge")
    )
    assert again.get_column("score").to_list() == [0.5] * 12 + [None] * 3


@pytest.mark.slow
def test_pairs_from_existing_scores_of_candidates(before: Path, tmp_path: Path) -> None:
    finished = run(recipe(before / "candidates.parquet", pair={"strategy": "max_min"}), tmp_path / "RUN")
    assert finished.counts["kept"] == 4
    assert finished.train.collect().get_column("chosen_score").to_list() == [3.0] * 4


def test_prompts_of_pairs_can_be_answered_again(server: ChatServer, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "pairs.jsonl", rows(3))
    found = generate(recipe(source, generate={"models": [server.line("writer")], "n": 1}), tmp_path / "RUN")
    assert found["generation"]["answers"][0]["answers"] == 3
