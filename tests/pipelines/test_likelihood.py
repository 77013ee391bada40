"""How likely answers are under the model to be trained: measured, reported, and bounded by a recipe."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError
from curate.recipe.load import make_recipe
from curate.recipe.models import named_model
from pipelines.clients.budget import BudgetReached
from pipelines.estimate import estimate
from pipelines.flow import generate, judge, run
from pipelines.likelihood import MAX_TOPICS, OTHER_TOPICS, likelihood_report
from tests.chat_server import Answer, ChatServer, Messages, chat_server, last, rating
from tests.pipelines.clients.test_local import make
from tests.pipelines.story import prompts, recipe

WORDS = {"mine": -0.5, "yours": -2.5}  # log-prob of each token of an answer


def tokens(messages: Messages) -> list[str]:
    """One token for each turn's role, and one for each word."""
    return [token for turn in messages for token in (f"<{turn['role']}>", *turn["content"].split())]


def vllm(messages: Messages, params: Mapping[str, Any]) -> Answer:
    """Answer with log-probs, and report those of the prompt, as vLLM does; the model `mine` is likely to say "mine"."""
    name = params["model"]
    if name == "judge":
        return rating(4 if "yours" in last(messages) else 2)
    text = f"{name} {name} {name}"
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if params.get("logprobs"):
        said = [{"token": f"{word} ", "logprob": WORDS[name]} for word in text.split()]
        choice["logprobs"] = {"content": [*said[:-1], said[-1] | {"token": name}, {"token": "</s>", "logprob": -9.0}]}
    body: dict[str, Any] = {"choices": [choice]}
    sent = tokens(messages)
    if params.get("prompt_logprobs") is None:
        sent.append("<assistant>")
    else:
        numbers = ({"7": {"logprob": WORDS.get(word, -4.0)}} for word in sent[1:])
        body["prompt_logprobs"] = [None, *numbers]
    return body | {"usage": {"prompt_tokens": len(sent), "completion_tokens": 3}}


def plain(messages: Messages, params: Mapping[str, Any]) -> Answer:
    """Ignore everything that OpenAI's API does not have."""
    name = params["model"]
    return rating(4 if "yours" in last(messages) else 2) if name == "judge" else f"{name} says {params['max_tokens']}"


@pytest.fixture(scope="module")
def serving() -> Iterator[ChatServer]:
    with chat_server(vllm) as running:
        yield running


@pytest.fixture
def server(serving: ChatServer) -> ChatServer:
    serving.reply = vllm
    serving.forget()
    return serving


def two_models(server: ChatServer, folder: Path, *texts: Any, **sections: Any) -> Any:
    """Return a recipe with one answer of the model to be trained and one of another model to each prompt."""
    models = [{"model": server.line("mine"), "on_policy": True}, {"model": server.line("yours")}]
    section = {"models": models, "n": 1, "on_policy": "auto", "max_tokens": 8, **sections.pop("generate", {})}
    return recipe(prompts(folder / "p.jsonl", *texts, count=0 if texts else 2), generate=section, **sections)


def measured(folder: Path) -> list[tuple[str, float | None]]:
    candidates = pl.read_parquet(folder / "RUN" / "candidates.parquet")
    return candidates.select(pl.col("model").str.strip_prefix("openai:"), "logp_per_token").rows()


def test_own_answers_come_with_it_and_others_are_read_once_more(server: ChatServer, tmp_path: Path) -> None:
    found = generate(two_models(server, tmp_path), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", -0.5), ("yours", -2.5)] * 2
    kinds = [
        "read" if "prompt_logprobs" in body else "counted" if body["max_tokens"] == 1 else "answered"
        for body in server.of("mine")
    ]
    assert sorted(kinds) == ["answered"] * 2 + ["counted"] * 2 + ["read"] * 2
    assert [body.get("logprobs") for body in server.of("yours")] == [None, None]
    table = {"under": "openai:mine", "topic": None, "answers": 2, "measured": 2}
    assert found["generation"]["on_policy"] == [
        {**table, "model": "openai:mine", "mean": -0.5, "low": -0.5, "high": -0.5},
        {**table, "model": "openai:yours", "mean": -2.5, "low": -2.5, "high": -2.5},
    ]
    server.forget()
    generate(two_models(server, tmp_path), tmp_path / "RUN")
    assert server.asked == []


def test_measuring_later_asks_for_no_answer_again(server: ChatServer, tmp_path: Path) -> None:
    generate(two_models(server, tmp_path, generate={"on_policy": None}), tmp_path / "RUN")
    before = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert before.get_column("logp_per_token").to_list() == [None] * 4
    server.forget()
    generate(two_models(server, tmp_path), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", -0.5), ("yours", -2.5)] * 2  # all of them read once more
    assert {body["max_tokens"] for body in server.asked} == {1}
    after = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert after.drop("logp_per_token").equals(before.drop("logp_per_token"))


def test_under_a_system_prompt_an_answer_has_another_likelihood(server: ChatServer, tmp_path: Path) -> None:
    generate(two_models(server, tmp_path, generate={"systems": ["Be brief."]}), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", -0.5), ("yours", -2.5)] * 2
    assert not any("logprobs" in body for body in server.asked)
    read = [body["messages"] for body in server.asked if "prompt_logprobs" in body]
    assert [[turn["role"] for turn in turns] for turns in read] == [["user", "assistant"]] * 4


def test_an_endpoint_that_does_not_report_them_is_asked_once(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = plain
    texts = [f"Which tea is number {number}?" for number in range(6)]
    found = generate(two_models(server, tmp_path, *texts), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", None), ("yours", None)] * 6
    assert len([body for body in server.asked if "prompt_logprobs" in body]) == 1
    assert len([body for body in server.asked if body["max_tokens"] == 1]) == 2  # it, and the length of its prompt
    assert found["generation"]["on_policy"][0]["measured"] == 0
    assert "openai:mine: the endpoint reports no log-probs of given texts" in capsys.readouterr().err


def test_a_refusal_costs_nothing_and_is_no_reason_to_ask_in_another_form(server: ChatServer, tmp_path: Path) -> None:
    def openai(messages: Messages, params: Mapping[str, Any]) -> Answer:
        if "prompt_logprobs" in params:
            return (400, "Unrecognized request argument supplied: prompt_logprobs")
        return plain(messages, params)

    server.reply = openai
    generate(two_models(server, tmp_path, "Tea?", "Cup?"), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", None), ("yours", None)] * 2
    assert len([body for body in server.of("mine") if "prompt_logprobs" in body]) == 1
    assert len(server.of("mine")) == 2 + 1 + 1


def test_a_recipe_can_bound_it(server: ChatServer, tmp_path: Path) -> None:
    sections: dict[str, Any] = {"judge": {"models": [server.line("judge")]}}
    wide = run(two_models(server, tmp_path, **sections, pair={"min_logp_per_token": -3}), tmp_path / "RUN")
    assert wide.counts["kept"] == 2
    assert wide.train.collect().get_column("chosen_model").to_list() == ["openai:yours"] * 2
    asked = len(server.of("judge"))
    narrow = run(two_models(server, tmp_path, **sections, pair={"min_logp_per_token": -1}), tmp_path / "RUN")
    assert (narrow.counts["kept"], len(server.of("judge"))) == (0, asked)
    reasons = narrow.ledger.collect().get_column("reasons").to_list()
    assert reasons == [["off_policy: likely enough 1 of 2"]] * 2


def test_answers_that_are_too_unlikely_are_not_judged(server: ChatServer, tmp_path: Path) -> None:
    sections: dict[str, Any] = {"judge": {"models": [server.line("judge")]}, "pair": {"min_logp_per_token": -1}}
    judge(two_models(server, tmp_path, **sections), tmp_path / "RUN")
    assert len(server.of("judge")) == 2
    candidates = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert candidates.select("logp_per_token", "score").rows() == [(-0.5, 2.0), (-2.5, None)] * 2


def test_the_estimate_is_what_is_sent(server: ChatServer, tmp_path: Path) -> None:
    wanted = two_models(server, tmp_path)
    (row,) = [line for line in estimate(wanted) if line.stage == "likelihood"]
    assert (row.model, row.requests, row.known) == ("openai:mine", 6, 0)  # own answers may not come with it
    generate(wanted, tmp_path / "RUN")
    (row,) = [line for line in estimate(wanted, tmp_path / "RUN") if line.stage == "likelihood"]
    assert (row.requests, row.known, row.input_tokens) == (4, 4, 0)


def test_the_budget_holds_for_it_and_the_next_start_goes_on(server: ChatServer, tmp_path: Path) -> None:
    texts = [f"Which tea is number {number}?" for number in range(12)]
    with pytest.raises(BudgetReached):
        generate(two_models(server, tmp_path, *texts, budget={"tokens": 300}), tmp_path / "RUN")
    sent = len(server.asked)
    generate(two_models(server, tmp_path, *texts), tmp_path / "RUN")
    assert measured(tmp_path) == [("mine", -0.5), ("yours", -2.5)] * 12
    assert 24 < len(server.asked) == 48
    assert sent < 48


@pytest.mark.parametrize(
    ("section", "train", "trained"),
    [
        ({"models": [{"model": "openai:a", "on_policy": True}, "openai:b"], "on_policy": "auto"}, None, "openai:a"),
        ({"models": ["openai:b"], "on_policy": "auto"}, "org/small", "transformers:org/small"),
        ({"models": ["openai:b"], "on_policy": "openai:b@http://h:1/v1"}, None, "openai:b"),
        ({"models": ["openai:b"], "on_policy": {"model": "transformers:x"}}, "org/small", "transformers:x"),
        ({"models": [{"model": "openai:a", "on_policy": True}], "on_policy": "transformers:x"}, None, "transformers:x"),
        ({"models": ["openai:b"]}, "org/small", None),
    ],
)
def test_which_model_is_to_be_trained(section: dict[str, Any], train: str | None, trained: str | None) -> None:
    tree = {"source": {"paths": "p.jsonl"}, "generate": section, **({"train": {"model": train}} if train else {})}
    found = make_recipe(tree).trained
    assert (found and found.model) == trained


@pytest.mark.parametrize(
    ("generate_section", "pair", "problem"),
    [
        ({"models": ["openai:b"], "on_policy": "auto"}, {}, "auto does not know the model to be trained"),
        (
            {"models": [{"model": m, "on_policy": True} for m in ("openai:a", "openai:b")], "on_policy": "auto"},
            {},
            "auto may be openai:a or openai:b; name one of them instead",
        ),
        ({"models": ["openai:b"]}, {"min_logp_per_token": -2}, "nothing is measured; set generate.on_policy"),
        ({"models": ["openai:b"], "on_policy": "openai:b"}, {"min_logp_per_token": 1}, "less than or equal to 0"),
    ],
)
def test_recipes_that_leave_it_open(generate_section: Any, pair: Any, problem: str) -> None:
    tree = {"source": {"paths": "p.jsonl"}, "generate": generate_section, "pair": pair}
    with pytest.raises(RecipeError, match=problem):
        make_recipe(tree)


def test_the_named_model_counts_as_on_policy(server: ChatServer, tmp_path: Path) -> None:
    models = [server.line("mine"), server.line("yours")]
    section = {"models": models, "on_policy": server.line("mine")}
    generate(two_models(server, tmp_path, generate=section), tmp_path / "RUN")
    candidates = pl.read_parquet(tmp_path / "RUN" / "candidates.parquet")
    assert candidates.select("on_policy", "logp_per_token").rows() == [(True, -0.5), (False, -2.5)] * 2


@pytest.mark.slow
def test_a_model_in_this_process_measures_all_answers(server: ChatServer, tmp_path: Path) -> None:
    folder = make(tmp_path / "small", "LlamaForCausalLM")
    section = {"models": [server.line("mine"), server.line("yours")], "on_policy": f"transformers:{folder}"}
    wanted = two_models(server, tmp_path, {"prompt": "Tea?", "topic": "tea"}, "Cup?", generate=section)
    found = generate(wanted, tmp_path / "RUN")
    logps = [logp for _, logp in measured(tmp_path)]
    assert len({logp for logp in logps if logp is not None and logp < 0}) == 4
    rows = [(row["model"], row["topic"], row["measured"]) for row in found["generation"]["on_policy"]]
    assert rows == [
        ("openai:mine", None, 2),
        ("openai:mine", "tea", 1),
        ("openai:yours", None, 2),
        ("openai:yours", "tea", 1),
    ]
    assert {row["under"] for row in found["generation"]["on_policy"]} == {"transformers:small"}


def test_figures_by_model_and_topic() -> None:
    answers = pl.DataFrame(
        {
            "source": ["s"] * 6,
            "source_row": pl.Series([0, 0, 1, 1, 2, 2], dtype=pl.UInt64),
            "model": ["b", "a"] * 3,
            "response": [[{"role": "assistant", "content": "x"}]] * 5 + [None],
            "logp_per_token": [-1.0, -3.0, -2.0, None, -6.0, None],
        }
    )
    topics = pl.DataFrame(
        {"source": ["s"] * 3, "source_row": pl.Series([0, 1, 2], dtype=pl.UInt64), "topic": ["tea", "tea", None]}
    )
    rows = likelihood_report(named_model("openai:t"), answers, topics)
    assert [tuple(row.values()) for row in rows] == [
        ("openai:t", "b", None, 3, 3, -3.0, -5.2, -1.2),
        ("openai:t", "b", "tea", 2, 2, -1.5, -1.9, -1.1),
        ("openai:t", "a", None, 2, 1, -3.0, -3.0, -3.0),
        ("openai:t", "a", "tea", 2, 1, -3.0, -3.0, -3.0),
    ]


def test_many_topics_are_reported_together() -> None:
    count = MAX_TOPICS + 10
    rows = pl.Series(range(2 * count), dtype=pl.UInt64)
    answers = pl.DataFrame(
        {
            "source": "s", "source_row": rows, "model": "a", "logp_per_token": -1.0,
            "response": [[{"role": "assistant", "content": "x"}]] * (2 * count),
        }
    )  # fmt: skip
    names = [f"topic {number % MAX_TOPICS if number < count else number:03}" for number in range(2 * count)]
    topics = pl.DataFrame({"source": "s", "source_row": rows, "topic": names})
    found = likelihood_report(named_model("openai:t"), answers, topics)
    assert len(found) == 1 + MAX_TOPICS + 1
    assert sum(row["answers"] for row in found[1:]) == 2 * count
    assert OTHER_TOPICS in [row["topic"] for row in found]
