"""Sampling of candidates: requests, and how replies are handled. The server answers at once."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError
from curate.recipe.models import Generate
from curate.schema import CANDIDATES, PROMPTS, prompt_ids
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import Reply, Request
from pipelines.generate import check, generate, variants
from tests.chat_server import Answer, ChatServer, Messages, chat_server, last
from tests.data import plain

Row = dict[str, Any]


def answer(messages: Messages, params: Mapping[str, Any]) -> Answer:
    """Answer with model, temperature, seed and prompt; some prompts cause faults."""
    asked = last(messages)
    if "refuse" in asked:
        return 400
    text = f"{params['model']} {params['temperature']} {params.get('seed')}: {asked}"
    return (text, "length") if "long" in asked else text


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with chat_server(answer) as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: ChatServer) -> None:
    server.forget()


def prompts(*texts: str, system: str | None = None) -> pl.DataFrame:
    """Return PROMPTS of one user turn each."""
    first = [{"role": "system", "content": system}] if system else []
    frame = pl.DataFrame(
        {
            "prompt": [[*first, {"role": "user", "content": text}] for text in texts],
            "source": "p.jsonl",
            "source_row": range(len(texts)),
            "extra": None,
        },
        schema_overrides=PROMPTS,
    )
    return frame.with_columns(prompt_ids()).select(list(PROMPTS))


def section(*models: str | Row, **settings: Any) -> Generate:
    return Generate.model_validate({"models": models, **settings})


def answers(asked: pl.DataFrame, wanted: Generate) -> pl.DataFrame:
    dispatcher = Dispatcher(RequestCache(":memory:"), Budget(None, wanted.models))
    with open_models(wanted.models, dispatcher) as clients:
        return generate(asked, wanted, clients)


def settings_of(wanted: Generate) -> list[tuple[Any, ...]]:
    return [(v.model.model, v.params.get("temperature"), v.params.get("seed"), v.system) for v in variants(wanted)]


def texts(found: pl.DataFrame) -> Sequence[str | None]:
    return [turns[0]["content"] if turns else None for turns in found.get_column("response").to_list()]


# ---- variants ----


def test_temperatures_in_turn_then_the_next_system_prompt() -> None:
    wanted = section("openai:a", n=5, temperatures=[0.1, 0.9], systems=["Be brief.", "Be kind."], seed=7)
    assert settings_of(wanted) == [
        ("openai:a", 0.1, 7, "Be brief."),
        ("openai:a", 0.9, 8, "Be brief."),
        ("openai:a", 0.1, 9, "Be kind."),
        ("openai:a", 0.9, 10, "Be kind."),
        ("openai:a", 0.1, 11, "Be brief."),
    ]


def test_a_models_own_settings_win() -> None:
    own = {"model": "openai:b", "temperature": 0, "system": "Mine.", "max_tokens": 5, "top_p": 0.5}
    own["extra"] = {"reasoning_effort": "low", "max_tokens": None}
    wanted = section("openai:a", own, n=2, temperatures=[0.1, 0.9], systems=["Ours."], max_tokens=50, seed=None)
    assert settings_of(wanted)[2:] == [("openai:b", 0.0, None, "Mine."), ("openai:b", 0.0, None, "Mine.")]
    first, *_, second = variants(wanted)
    assert first.params == {"temperature": 0.1, "max_tokens": 50}
    assert second.params == {"temperature": 0.0, "max_tokens": None, "top_p": 0.5, "reasoning_effort": "low"}


def test_one_temperature_of_a_model_takes_the_system_prompts_in_turn() -> None:
    wanted = section({"model": "openai:a", "temperature": 0.5}, n=3, temperatures=[0.1, 0.9], systems=["A", "B"])
    assert [system for *_, system in settings_of(wanted)] == ["A", "B", "A"]


def test_equal_answers_are_an_error() -> None:
    with pytest.raises(RecipeError, match=r"openai:a is listed twice .*raise generate.n"):
        check(section("openai:a", "openai:a"))
    check(section({"model": "openai:a", "temperature": 0.1}, {"model": "openai:a", "temperature": 0.9}, n=1))
    check(section("openai:a", n=4, seed=None))  # distinguished by the sample's number


# ---- requests and answers ----


def test_the_request(server: ChatServer) -> None:
    wanted = section(server.line("a"), n=1, temperatures=[0.3], systems=["Ours."], max_tokens=9, seed=4)
    answers(prompts("q", system="The prompt's own."), wanted)
    assert server.asked == [
        {
            "model": "a",
            "messages": [{"role": "system", "content": "Ours."}, {"role": "user", "content": "q"}],
            "stream": False,
            "temperature": 0.3,
            "max_tokens": 9,
            "seed": 4,
        }
    ]


def test_the_prompts_own_system_prompt_is_kept_by_default(server: ChatServer) -> None:
    answers(prompts("q", system="The prompt's own."), section(server.line("a"), n=1))
    assert server.asked[0]["messages"][0] == {"role": "system", "content": "The prompt's own."}


def test_answers_come_prompt_by_prompt_in_the_order_of_the_variants(server: ChatServer) -> None:
    wanted = section(server.line("a"), server.line("b"), n=2, temperatures=[0.1, 0.9])
    found = answers(prompts("one", "two"), wanted)
    assert found.schema == CANDIDATES
    assert texts(found) == [
        "a 0.1 0: one", "a 0.9 1: one", "b 0.1 0: one", "b 0.9 1: one",
        "a 0.1 0: two", "a 0.9 1: two", "b 0.1 0: two", "b 0.9 1: two",
    ]  # fmt: skip
    assert found.get_column("source_row").to_list() == [0] * 4 + [1] * 4
    assert found.get_column("model").unique(maintain_order=True).to_list() == ["openai:a", "openai:b"]
    assert found.get_column("score").null_count() == 8


def test_every_answer_has_its_parameters(server: ChatServer) -> None:
    model = {"model": "openai:a", "base_url": server.url, "on_policy": True}
    wanted = section(model, server.line("b"), n=1, systems=["Ours."], seed=3, max_tokens=64)
    row = answers(prompts("a long one"), wanted).row(0, named=True)
    assert json.loads(row["params"]) == {
        "temperature": 0.8, "max_tokens": 64, "seed": 3, "system": "Ours.", "sample": 0,
    }  # fmt: skip
    assert (row["finish_reason"], row["input_tokens"], row["output_tokens"]) == ("length", 4, 6)
    assert plain(row["response"]) == [{"role": "assistant", "content": "a 0.8 3: a long one"}]
    assert answers(prompts("x"), wanted).get_column("on_policy").to_list() == [True, False]


def test_a_failed_answer_is_a_row_with_its_error(server: ChatServer) -> None:
    found = answers(prompts("one", "refuse this", "two"), section(server.line("a"), n=1))
    assert texts(found) == ["a 0.8 0: one", None, "a 0.8 0: two"]
    failed = found.row(1, named=True)
    assert failed["error"] == "status 400: refused with 400"
    assert failed["finish_reason"] is None
    assert found.get_column("error").null_count() == 2


def test_ids_depend_on_the_request_alone(server: ChatServer) -> None:
    wanted = section(server.line("a"), server.line("b"), n=2, temperatures=[0.1, 0.9])
    found = answers(prompts("one", "two"), wanted)
    assert found.get_column("candidate_id").n_unique() == 8
    alone = answers(prompts("two"), section(server.line("a"), n=1, temperatures=[0.1]))
    assert alone.item(0, "candidate_id") == found.item(4, "candidate_id")
    assert found.item(0, "candidate_id") == "ffba79e9413fe978d5cd6226b9e76b5c"  # the same on every machine and version


def test_a_local_model_is_named_without_its_folder() -> None:
    lines = ["gguf:models/small.gguf", "transformers:/home/me/out/checkpoint-3", "transformers:OWNER/NAME"]
    found = generate(
        prompts("q"), section(*lines, n=1), dict.fromkeys(lines, lambda asked: [Reply("fine")] * len(asked))
    )
    names = ["gguf:small.gguf", "transformers:checkpoint-3", "transformers:OWNER/NAME"]
    assert found.get_column("model").to_list() == names


def test_no_prompts_give_no_answers(server: ChatServer) -> None:
    found = answers(prompts(), section(server.line("a"), server.line("b")))
    assert (found.schema, len(found)) == (CANDIDATES, 0)
    assert server.asked == []


def test_two_models_are_asked_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def ask(requests: Sequence[Request]) -> list[Reply]:
        both.wait(5)  # raises if the other one is asked only afterwards
        return [Reply("fine")] * len(requests)

    found = generate(prompts("q"), section("openai:a", "openai:b", n=1), {"openai:a": ask, "openai:b": ask})
    assert len(found) == 2


def test_equal_requests_are_sent_once(server: ChatServer, tmp_path: Path) -> None:
    wanted = section(server.line("a"), n=2)
    dispatcher = Dispatcher(RequestCache(tmp_path / "r.sqlite"), Budget(None, wanted.models))
    for _ in range(2):
        with open_models(wanted.models, dispatcher) as clients:
            generate(prompts("one", "two"), wanted, clients)
    assert len(server.asked) == 4
