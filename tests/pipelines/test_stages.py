"""Stages that use models: what an interrupted or failed start keeps, and what their keys depend on."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import ServiceError
from curate.recipe.models import Generate, Judge, Pair
from curate.rundir.stage import Stage
from curate.rundir.store import Store
from curate.schema import STAGED
from pipelines import inputs, stages
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import Reply, Request
from pipelines.inputs import read_origin
from pipelines.judges.panel import judges_of
from pipelines.judges.reward import RewardJudge
from tests.chat_server import last
from tests.data import write_jsonl
from tests.pipelines.story import judge as verdict
from tests.pipelines.story import prompts, recipe, write

LINE, JUDGE = "openai:writer", "openai:judge"
WRITES = Generate.model_validate({"models": LINE, "max_failed": 0.5})
JUDGES = Judge.model_validate({"models": JUDGE, "max_failed": 0.5})


@pytest.fixture(autouse=True)
def _two_sets_per_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "SETS_PER_PART", 2)


class Asked:
    """Replaces the models and records prompts. `fails` and `ends` name prompts that fail or stop the run."""

    def __init__(self, fails: str = "\0", ends: str = "\0") -> None:
        self.fails, self.ends = fails, ends
        self.prompts: list[str] = []

    def __call__(self) -> dict[str, Any]:
        return {LINE: self._write, JUDGE: self._judge}

    def _write(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply(request, write(request.messages, {"model": "w", **request.params})) for request in requests]

    def _judge(self, requests: Sequence[Request]) -> list[Reply]:
        return [self._reply(request, verdict("judge", request.messages)) for request in requests]

    def _reply(self, request: Request, said: Any) -> Reply:
        asked = last(request.messages)
        self.prompts.append(asked)
        if self.ends in asked:
            raise ServiceError("the endpoint is gone")
        return Reply(None, error="status 400") if self.fails in asked else Reply(said, "stop", 1, 1)


def new_dispatcher() -> Dispatcher:
    return Dispatcher(RequestCache(":memory:"), Budget(None, []))


def source(tmp_path: Path, count: int = 5, **extra: Any) -> Path:
    lines = [{"prompt": f"How do I restore photo number {number}?", **extra} for number in range(count)]
    return write_jsonl(tmp_path / "p.jsonl", lines)


def read(tmp_path: Path, source: Path) -> tuple[Store, Stage]:
    store = Store(tmp_path / "RUN")
    return store, read_origin(store, recipe(source, generate={"models": LINE}), None)


def judged(store: Store, start: Stage, asked: Asked) -> tuple[Stage, Stage]:
    answers = stages.answer(store, WRITES, start, asked, new_dispatcher())
    return stages.judge(store, JUDGES, judges_of(JUDGES), answers, start, asked, new_dispatcher())


# ---- answers ----


def test_one_part_per_part_of_the_origin(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    stage = stages.answer(store, WRITES, start, Asked(), new_dispatcher())
    assert [len(pl.read_parquet(part)) for part in stage.parts()] == [4, 4, 2]
    assert stage.info is not None
    assert (stage.info["answers"], stage.info["failed"]) == (10, 0)


def test_a_complete_stage_opens_no_model(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    stage = stages.answer(store, WRITES, start, Asked(), new_dispatcher())

    def never() -> dict[str, Any]:
        raise AssertionError

    assert stages.answer(store, WRITES, start, never, new_dispatcher()) == stage


def test_only_parts_with_failures_are_requested_again(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    stage = stages.answer(store, WRITES, start, Asked(fails="number 2"), new_dispatcher())
    assert stage.info is not None
    assert stage.info["failed"] == 2
    before = stage.part(0).stat().st_mtime_ns
    again = Asked()
    stage = stages.answer(store, WRITES, start, again, new_dispatcher())
    assert sorted(set(again.prompts)) == [f"How do I restore photo number {number}?" for number in (2, 3)]
    assert stage.info is not None
    assert stage.info["failed"] == 0
    assert stage.part(0).stat().st_mtime_ns == before


def test_answers_before_a_fatal_error_are_kept(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    with pytest.raises(ServiceError, match="the endpoint is gone"):
        stages.answer(store, WRITES, start, Asked(ends="number 4"), new_dispatcher())
    again = Asked()
    stage = stages.answer(store, WRITES, start, again, new_dispatcher())
    assert set(again.prompts) == {"How do I restore photo number 4?"}
    assert len(stage.scan().collect()) == 10


def test_too_many_failures_are_an_error_that_names_the_most_frequent(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    strict = WRITES.model_copy(update={"max_failed": 0.1})
    said = r"generate: 2 of 10 answers failed \(most often: status 400\). More than generate.max_failed=0.1"
    with pytest.raises(ServiceError, match=said):
        stages.answer(store, strict, start, Asked(fails="number 4"), new_dispatcher())
    with pytest.raises(ServiceError, match=said):  # again, and not silently the second time
        stages.answer(store, strict, start, Asked(fails="number 4"), new_dispatcher())
    assert stages.answer(store, WRITES, start, Asked(fails="number 4"), new_dispatcher()).info is not None
    stage = stages.answer(store, strict, start, Asked(), new_dispatcher())
    assert stage.scan().select(pl.col("response").null_count()).collect().item() == 0


def test_transport_settings_are_not_in_the_key() -> None:
    def of(**changes: Any) -> dict[str, Any]:
        return stages.settings(Generate.model_validate({"models": [{"model": LINE, **changes}]}))

    same = {"base_url": "http://localhost:1/v1", "api_key_env": "KEY", "concurrency": 1, "timeout": 1, "retries": 0}
    assert of(**same, patience=1, input_price=1, output_price=1) == of()
    for change in ({"temperature": 1}, {"system": "x"}, {"extra": {"a": 1}}, {"on_policy": True}, {"top_p": 0.1}):
        assert of(**change) != of()


# ---- verdicts ----


def test_verdicts_are_stored_beside_judged_answers(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    said, scored = judged(store, start, Asked())
    assert len(said.scan().collect()) == 10
    assert scored.scan().select("score").collect().to_series().to_list() == [1.0, 2.0] * 5
    assert scored.info is not None
    assert scored.info["judges"][0]["verdicts"] == 10


def test_only_the_part_without_a_verdict_is_judged_again(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    _, first = judged(store, start, Asked(fails="number 4?\n"))
    assert first.info is not None
    assert (first.info["failed"], first.info["judges"][0]["null_rate"]) == (2, 0.2)
    again = Asked()
    _, second = judged(store, start, again)
    assert len(again.prompts) == 2
    assert second.info is not None
    assert (second.info["failed"], second.info["judges"][0]["null_rate"]) == (0, 0.0)


def test_scores_of_a_local_judge_are_kept_through_an_interrupt(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    answers = stages.answer(store, WRITES, start, Asked(), new_dispatcher())
    section = Judge.model_validate({"models": "reward:m"})
    scored: list[int] = []

    class Interrupted(RewardJudge):
        def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
            scored.append(answers.item(0, "source_row"))
            if len(scored) == 3:
                raise KeyboardInterrupt
            return pl.DataFrame({"score": [1.0] * len(answers), "reason": [None] * len(answers)})

    judges = [Interrupted(section.models[0], section)]
    with pytest.raises(KeyboardInterrupt):
        stages.judge(store, section, judges, answers, start, dict, new_dispatcher())
    stages.judge(store, section, judges, answers, start, dict, new_dispatcher())
    assert sorted(scored) == [0, 2, 4, 4]


def test_an_unusable_verdict_is_requested_again_by_the_next_start(tmp_path: Path) -> None:
    store, start = read(tmp_path, source(tmp_path))
    answers = stages.answer(store, WRITES, start, Asked(), new_dispatcher())

    def mumbling(requests: Sequence[Request]) -> list[Reply]:
        return [Reply("Hm.", "stop", 1, 1) for _ in requests]

    stages.judge(store, JUDGES, judges_of(JUDGES), answers, start, lambda: {JUDGE: mumbling}, new_dispatcher())
    again = Asked()
    _, scored = stages.judge(store, JUDGES, judges_of(JUDGES), answers, start, again, new_dispatcher())
    assert len(again.prompts) == 10
    assert scored.info is not None
    counts = (scored.info["failed"], scored.info["unusable"], scored.info["judges"][0]["null_rate"])
    assert counts == (0, 0, 0.0)
    stages.judge(store, JUDGES, judges_of(JUDGES), answers, start, again, new_dispatcher())
    assert len(again.prompts) == 10  # nothing is left to ask for


# ---- pairs ----


def paired(tmp_path: Path, asked: Asked, **pair: Any) -> pl.DataFrame:
    store, start = read(tmp_path, tmp_path / "p.jsonl")
    _, scored = judged(store, start, asked)
    return stages.pair(store, Pair(**pair), scored, start).scan().collect()


def test_pairs_come_in_the_order_of_the_origin_with_every_row_of_it(tmp_path: Path) -> None:
    same = "How do I restore the same photo?"
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": text} for text in ("Photo 1?", same, "Photo 1?", "", "Photo 2?")])
    found = paired(tmp_path, Asked(fails="Photo 2"))
    assert found.schema == STAGED
    assert found.select("source_row", "problem").rows() == [
        (0, None), (1, "one_answer"), (2, "duplicate_prompt"), (3, "prompt_empty"), (4, "no_answer"),
    ]  # fmt: skip


def test_extra_of_the_prompt_is_kept_with_the_pair(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": "Photo 1?", "topic": "a } b"}])
    one = json.loads(paired(tmp_path, Asked()).item(0, "extra"))
    assert one["source"] == {"topic": "a } b"}
    assert (one["strategy"], one["judge"]) == ("max_min", JUDGE)
    assert json.loads(one["chosen_params"])["sample"] == 1
    assert one["chosen_reason"] == "It says 2."
    prompts(tmp_path / "p.jsonl", count=1)
    assert "source" not in json.loads(paired(tmp_path, Asked()).item(0, "extra"))


def test_an_extra_that_is_not_json(tmp_path: Path) -> None:
    """A user's own table may have the columns of PAIR."""
    columns = ["prompt_id", "prompt", "source", "source_row", "extra"]
    turns = [{"role": "user", "content": "Photo 1?"}]
    row = dict(zip(columns, ["x", turns, "old.jsonl", 3, 'said "so"'], strict=True))
    write_jsonl(tmp_path / "p.jsonl", [row])
    found = paired(tmp_path, Asked())
    assert found.select("source", "source_row").rows() == [("old.jsonl", 3)]
    assert json.loads(found.item(0, "extra"))["source"] == 'said "so"'


def test_an_edited_source_reaches_the_pairs_though_all_answers_are_the_same(tmp_path: Path) -> None:
    lines = [{"prompt": "Photo 1?", "topic": "old"}]
    write_jsonl(tmp_path / "p.jsonl", lines)
    paired(tmp_path, Asked())
    write_jsonl(tmp_path / "p.jsonl", [{"prompt": "Photo 1?", "topic": "new"}, {"prompt": "Photo 1?"}])
    found = paired(tmp_path, Asked())
    assert found.get_column("problem").to_list() == [None, "duplicate_prompt"]
    assert json.loads(found.item(0, "extra"))["source"] == {"topic": "new"}


def _name(name: str, requests: Sequence[Request]) -> list[Reply]:
    return [Reply(f"I am {name}", "stop")] * len(requests)


def test_order_names_models_by_their_lines(tmp_path: Path) -> None:
    weights = ["gguf:/home/me/large.gguf", "gguf:/home/me/small.gguf"]
    wanted = Generate.model_validate({"models": weights, "n": 1})
    store, start = read(tmp_path, source(tmp_path, 1))
    clients = {name: partial(_name, name) for name in weights}
    answers = stages.answer(store, wanted, start, lambda: clients, new_dispatcher())
    found = stages.pair(store, Pair(strategy="delta", order=tuple(weights)), answers, start).scan().collect()
    assert found.select("chosen_model", "rejected_model").rows() == [("gguf:large.gguf", "gguf:small.gguf")]


def test_many_pairs_of_one_prompt(tmp_path: Path) -> None:
    prompts(tmp_path / "p.jsonl", count=3)
    store, start = read(tmp_path, tmp_path / "p.jsonl")
    answers = stages.answer(store, WRITES.model_copy(update={"n": 3}), start, Asked(), new_dispatcher())
    _, scored = stages.judge(store, JUDGES, judges_of(JUDGES), answers, start, Asked(), new_dispatcher())
    stage = stages.pair(store, Pair(strategy="all"), scored, start)
    assert stage.scan().select("source_row").collect().to_series().to_list() == [0] * 3 + [1] * 3 + [2] * 3
    assert stage.info is not None
    assert (stage.info["rows"], stage.info["counts"]) == (9, {"sets": 3, "answers": 9})
