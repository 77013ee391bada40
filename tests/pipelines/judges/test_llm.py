"""LLM judges: their requests, how replies are parsed, and how unusable ones are handled."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError
from curate.recipe.models import Judge
from curate.schema import CANDIDATES, digest, empty, prompt_ids
from curate.text.messages import one_message
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher
from pipelines.judges.base import VERDICTS
from pipelines.judges.llm import PairwiseJudge
from pipelines.judges.panel import check, judges_of, verdicts
from pipelines.judges.reward import RewardJudge
from pipelines.judges.rubrics import load_rubric
from pipelines.judges.scoring import combine
from tests.chat_server import Answer, ChatServer, Messages, better, chat_server, last, rating


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(lambda messages, params: rating(3)) as running:
        yield running


def candidates(*sets: tuple[str | None, ...]) -> pl.DataFrame:
    """Return CANDIDATES with one set of answers per prompt; None stands for a failed answer."""
    rows = [(f"Question {row}?", text, row) for row, texts in enumerate(sets) for text in texts]
    asked, text = pl.col("asked"), pl.col("text")
    frame = pl.DataFrame(rows, schema={"asked": pl.String, "text": pl.String, "source_row": pl.UInt64}, orient="row")
    frame = frame.with_columns(prompt=one_message("user", asked), response=one_message("assistant", text))
    frame = frame.with_columns(prompt_ids(), source=pl.lit("s"))
    frame = frame.with_columns(candidate_id=digest(pl.concat_str("prompt_id", text.fill_null(""))))
    absent = empty(CANDIDATES, [name for name in CANDIDATES if name not in frame.columns])
    return frame.with_columns(absent).select(list(CANDIDATES))


def judge(answers: pl.DataFrame, server: ChatServer, *names: str, **settings: Any) -> pl.DataFrame:
    section = Judge.model_validate({"models": [server.line(name) for name in names or ("judge",)], **settings})
    check(section)
    with open_models(section.models, Dispatcher(RequestCache(":memory:"), Budget(None, section.models))) as clients:
        return verdicts(answers, judges_of(section), clients)


def rows(found: pl.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    assert found.schema == VERDICTS
    return found.select(names).rows()


# ---- rubrics ----


def test_an_answer_is_rated_by_every_aspect(server: ChatServer) -> None:
    server.reply = lambda messages, _: json.dumps({"reason": "so", "ratings": {"honesty": 2, "helpfulness": 5}})
    answers = candidates(("one", "two"))
    found = judge(answers, server, aspects=["helpfulness", "honesty"])
    assert (
        rows(found, "judge", "method", "aspect", "score", "reason")
        == [
            ("openai:judge", "rubric", "helpfulness", 5.0, "so"),
            ("openai:judge", "rubric", "honesty", 2.0, "so"),
        ]
        * 2
    )
    assert len(server.asked) == 2
    hashes = {name: load_rubric(name).hash for name in ("helpfulness", "honesty")}
    assert set(rows(found, "rubric", "rubric_hash")) == set(hashes.items())
    assert combine(answers, found).get_column("score").to_list() == [3.5, 3.5]


def test_the_request_to_a_judge(server: ChatServer) -> None:
    judge(candidates(("An answer.",)), server, scale=10, max_tokens=99, seed=5)
    (body,) = server.asked
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.0, 99, 5)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["ratings"]["properties"]["overall"]["enum"] == list(range(1, 11))
    assert "An answer." in last(body["messages"])


def test_without_structured_no_schema_is_sent(server: ChatServer) -> None:
    judge(candidates(("x",)), server, structured=False)
    assert "response_format" not in server.asked[0]


def test_a_judges_own_settings(server: ChatServer) -> None:
    model = {"model": "openai:judge", "base_url": server.url, "temperature": 0.3, "top_p": 0.5, "max_tokens": 7}
    section = Judge.model_validate({"models": [model | {"extra": {"reasoning_effort": "low"}}], "seed": None})
    with open_models(section.models, Dispatcher(RequestCache(":memory:"), Budget(None, section.models))) as clients:
        verdicts(candidates(("x",)), judges_of(section), clients)
    sent = {key: value for key, value in server.asked[0].items() if key not in ("messages", "response_format")}
    assert sent == {
        "model": "judge", "stream": False, "temperature": 0.3, "top_p": 0.5, "max_tokens": 7, "reasoning_effort": "low",
    }  # fmt: skip


def test_a_users_own_rubric(server: ChatServer, tmp_path: Path) -> None:
    mine = tmp_path / "brevity.txt"
    mine.write_text("1: a novel. {scale}: two words.")
    server.reply = lambda *_: rating(4, "brevity")
    found = judge(candidates(("x",)), server, rubric=str(mine))
    assert rows(found, "rubric", "rubric_hash", "aspect", "score") == [
        ("brevity", load_rubric(str(mine)).hash, "brevity", 4.0)
    ]
    assert "5: two words." in server.asked[0]["messages"][0]["content"]


def test_a_missing_answer_is_not_judged(server: ChatServer) -> None:
    answers = candidates(("one", None), (None, None))
    found = judge(answers, server)
    assert len(server.asked) == 1
    assert combine(answers, found).get_column("score").to_list() == [3.0, None, None, None]


def test_without_answers_nothing_is_asked(server: ChatServer) -> None:
    for method in ("rubric", "pairwise"):
        found = judge(candidates((None,)), server, method=method)
        assert (found.schema, len(found)) == (VERDICTS, 0)
    assert server.asked == []


# ---- replies that are not verdicts ----


def test_a_bad_reply_is_repaired_once(server: ChatServer) -> None:
    server.reply = lambda messages, _: rating(4) if len(messages) > 2 else "Four, I would say."
    assert rows(judge(candidates(("x",)), server), "score", "raw", "error") == [(4.0, None, None)]
    first, second = server.asked
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": "Four, I would say."}
    assert "there is no JSON object" in last(second["messages"])


def test_a_second_bad_reply_gives_a_null_score_and_is_kept(server: ChatServer) -> None:
    server.reply = lambda messages, _: rating(6) if len(messages) > 2 else "Hm."
    found = judge(candidates(("x",)), server)
    assert rows(found, "score", "raw", "error") == [
        (None, rating(6), "the rating overall is 6, expected a whole number from 1 to 5")
    ]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "bad",
    [
        json.dumps({"reason": "r", "ratings": {"helpfulness": 3}}),  # one rating of two
        json.dumps({"reason": "r", "ratings": {"helpfulness": 3, "honesty": 3, "overall": 3}}),
        json.dumps({"reason": "r", "ratings": {"helpfulness": 0, "honesty": 3}}),
        json.dumps({"reason": "r", "ratings": [3, 3]}),
        json.dumps({"ratings": {"helpfulness": 3, "honesty": 3}}),
        '{"reason": "r", "ratings": {"helpfulness": 3, "honesty"',
        "3 and 3",
    ],
)
def test_the_ratings_must_match_the_aspects(server: ChatServer, bad: str) -> None:
    server.reply = lambda *_: bad
    found = judge(candidates(("x",)), server, aspects=["helpfulness", "honesty"])
    assert rows(found, "score", "raw") == [(None, bad)] * 2


def test_a_reply_that_was_cut_off_counts_as_bad(server: ChatServer) -> None:
    server.reply = lambda messages, _: (rating(5), "length")
    assert rows(judge(candidates(("x",)), server), "score", "raw") == [(None, rating(5))]
    assert "cut off" in last(server.asked[1]["messages"])
    server.reply = lambda messages, _: rating(2) if len(messages) > 2 else (rating(5), "length")
    assert rows(judge(candidates(("y",)), server), "score") == [(2.0,)]


def test_a_request_that_fails_is_an_error_without_a_reply(server: ChatServer) -> None:
    server.reply = lambda messages, _: 400 if "refuse" in messages[1]["content"] else rating(3)
    found = judge(candidates(("one", "refuse")), server)
    assert rows(found, "score", "raw", "error") == [(3.0, None, None), (None, None, "status 400: refused with 400")]
    assert len(server.asked) == 2


def test_a_failed_repair_counts_as_a_failed_request(server: ChatServer) -> None:
    server.reply = lambda messages, _: 400 if len(messages) > 2 else "Hm."
    found = judge(candidates(("x",)), server)
    assert rows(found, "score", "raw", "error") == [(None, None, "status 400: refused with 400")]


# ---- comparisons ----


def test_every_two_answers_are_compared_in_both_orders(server: ChatServer) -> None:
    server.reply = lambda messages, _: better("A" if "ANSWER A" in messages[1]["content"] else "B")
    answers = candidates(("one", "two", "three"), ("alone",))
    found = judge(answers, server, method="pairwise")
    assert len(server.asked) == len(found) == 6
    one, two, three, _ = answers.get_column("candidate_id")
    assert rows(found, "candidate_id", "other_id", "shown_first", "score") == [
        (one, two, True, 1.0), (one, two, False, 0.0),
        (one, three, True, 1.0), (one, three, False, 0.0),
        (two, three, True, 1.0), (two, three, False, 0.0),
    ]  # fmt: skip
    assert combine(answers, found).get_column("score").to_list() == [0.5, 0.5, 0.5, None]  # it never agrees with itself


def test_comparisons_are_in_the_order_of_the_sets() -> None:
    (pairwise,) = judges_of(Judge.model_validate({"models": "openai:judge", "method": "pairwise"}))
    assert isinstance(pairwise, PairwiseJudge)
    asked = pairwise.questions(candidates(*[("yes", "no")] * 40))
    assert [question.about["source_row"] for question in asked] == [row for row in range(40) for _ in range(2)]


def test_a_win_needs_both_orders(server: ChatServer) -> None:
    def longer(messages: Messages, _: Mapping[str, Any]) -> Answer:
        asked = messages[1]["content"]
        first, second = (part.split("\n<<<END")[0] for part in asked.split("ANSWER ")[1:4:2])
        return better("A" if len(first) > len(second) else "B")

    server.reply = longer
    answers = candidates(("a long answer", "short"))
    found = judge(answers, server, method="pairwise")
    assert rows(found, "shown_first", "score") == [(True, 1.0), (False, 1.0)]
    assert combine(answers, found).get_column("score").to_list() == [1.0, 0.0]


def test_equal_answers_are_not_compared(server: ChatServer) -> None:
    server.reply = lambda *_: better("tie")
    found = judge(candidates(("same", "same", "other")), server, method="pairwise")
    assert len(found) == 4
    assert len(server.asked) == 2  # the other answer is compared with both by one request per order
    assert found.get_column("score").to_list() == [0.5] * 4


def test_a_comparison_has_no_aspects() -> None:
    with pytest.raises(RecipeError, match=r"judge\.aspects: .*use method rubric"):
        check(Judge.model_validate({"models": "openai:j", "method": "pairwise", "aspects": ["honesty"]}))


# ---- panels ----


def test_each_judge_of_a_panel_is_asked(server: ChatServer) -> None:
    server.reply = lambda _, params: rating(1 if params["model"] == "mild" else 5)
    answers = candidates(("x",))
    found = judge(answers, server, "mild", "stern")
    assert rows(found, "judge", "score") == [("openai:mild", 1.0), ("openai:stern", 5.0)]
    assert combine(answers, found).select("score", "judge").rows() == [(3.0, "openai:mild, openai:stern")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rubric": "helpfullness"}, "unknown rubric 'helpfullness'. Did you mean 'helpfulness'?"),
        ({"aspects": ["honesty", "honesty"]}, "two rubrics have the name honesty"),
        ({"models": ["openai:a", "openai:a"]}, "openai:a is listed twice"),
        ({"models": [{"model": "openai:a", "system": "Be mild."}]}, "openai:a has a system prompt"),
    ],
)
def test_invalid_sections_fail_before_any_request(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(Judge.model_validate({"models": "openai:j", **settings}))
    assert said in str(caught.value)


def test_rubrics_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text(folder)
    paths = [str(tmp_path / folder / "mine.txt") for folder in ("a", "b")]
    with pytest.raises(RecipeError, match="two rubrics have the name mine"):
        check(Judge.model_validate({"models": "openai:j", "aspects": paths}))


# ---- judges that score by themselves ----


def test_scores_of_a_local_judge(server: ChatServer) -> None:
    section = Judge.model_validate({"models": ["reward:/models/mine", server.line("judge")]})

    class Lengths(RewardJudge):
        def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
            texts = answers.get_column("response").list.first().struct.field("content")
            return pl.DataFrame({"score": texts.str.len_chars().cast(pl.Float64), "reason": None}, strict=False)

    judges = [Lengths(section.models[0], section), judges_of(section)[1]]
    answers = candidates(("one", None, "three"))
    with open_models(section.models[1:], Dispatcher(RequestCache(":memory:"), Budget(None, section.models))) as clients:
        found = verdicts(answers, judges, clients)
    assert rows(found, "judge", "method", "aspect", "score") == [
        ("reward:mine", "reward", "overall", 3.0),
        ("reward:mine", "reward", "overall", 5.0),
        ("openai:judge", "rubric", "overall", 3.0),
        ("openai:judge", "rubric", "overall", 3.0),
    ]
    # Two scales: every judge's scores become shares of the answers below.
    assert combine(answers, found).get_column("score").to_list() == [0.25, None, 0.75]
