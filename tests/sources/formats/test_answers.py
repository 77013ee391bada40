"""Formats of answers: literal rows in, pairs and the reasons of all other rows out."""

from typing import Any

import polars as pl
import pytest

import curate
from curate.pairing import Settings
from curate.sources import read
from curate.sources.memory import table_feeds
from tests.staged import Row, assistant, short, user

Q, F = "Which tea?", "And which milk?"
Pair = tuple[int, str | None, str | None, str | None]  # source_row, prompt, chosen, rejected
Problem = tuple[int, str]


def found(rows: list[Row], **settings: Any) -> tuple[list[Pair], list[Problem]]:
    """Return the pairs and the problems of rows."""
    staged = [
        short(row)
        for frame, _ in read(table_feeds(rows)[0], pair=Settings(**settings))
        for row in frame.rows(named=True)
    ]
    pairs = [(r["source_row"], r["prompt"], r["chosen"], r["rejected"]) for r in staged if r["problem"] is None]
    return pairs, [(r["source_row"], r["problem"]) for r in staged if r["problem"] is not None]


def pair(row: int, chosen: str = "good", rejected: str = "bad", prompt: str = f"user: {Q}") -> Pair:
    return row, prompt, f"assistant: {chosen}", f"assistant: {rejected}"


def rated(rating: str) -> Row:
    return {"helpfulness": {"Rating": rating}, "honesty": {"Rating": "N/A"}}


def said(name: str, parent: str | None, text: str, rank: int | None = None, role: str = "assistant") -> Row:
    return {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "message_tree_id": "T"}


def turn(number: int, content: str, *, chosen: bool | None = None, score: int | None = None) -> Row:
    role = "user" if chosen is None else "model"
    return {"turn": number, "role": role, "content": content, "if_chosen": chosen, "score": score}


def studio(*selected: str, cancelled: bool = False) -> Row:
    votes = [{"result": [{"value": {"selected": side}}], "was_cancelled": cancelled} for side in selected]
    return {"id": 1, "annotations": votes, "data": {"prompt": Q, "answer1": "good", "answer2": "bad"}}


def graded(first: str, second: str, **more: Any) -> Row:
    """Two answers, bad and good, with UltraFeedback's rating of each."""
    scores = more.get("scores", (9, 2))
    items = zip(("bad", "good"), (first, second), scores, strict=True)
    return {
        "instruction": more.get("prompt", Q),
        "completions": [
            {"response": text, "overall_score": score, "annotations": rated(rating)} for text, rating, score in items
        ],
    }


def listed(*ratings: float | None) -> Row:
    return {
        "instruction": Q,
        "generations": ["bad", "good", "?"],
        "ratings": ratings,
        "generation_models": ["x", "y", "z"],
    }


def by_rank(*answers: tuple[str, int | None]) -> Row:
    columns = [{f"response_{n}": text, f"rank_{n}": rank} for n, (text, rank) in enumerate(answers, 1)]
    return {"prompt": Q, **columns[0], **columns[1], **columns[2]}


def sheet(*responses: tuple[str, str]) -> Row:
    answers = [{"value": value, "status": status} for value, status in responses]
    return {"fields": {"prompt": Q, "response1": "bad", "response2": "good"}, "responses": {"preference": answers}}


def steered(prompt: str, response: str, helpfulness: int) -> Row:
    others = dict.fromkeys(("correctness", "coherence", "complexity", "verbosity"), 1)
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, **others}


def reply(text: str, rank: int) -> Row:
    return {"text": text, "role": "assistant", "rank": rank, "replies": []}


LATER = f"{Q}\n<extra_id_1>Assistant\nGreen.\n<extra_id_1>User\n{F}"
Expected = tuple[list[Pair], list[Problem]]
ANSWERS: dict[str, tuple[list[Row], Expected]] = {
    "correct_answers": (
        [
            {"prompt": Q, "chosen": ["good"], "rejected": ["bad", "worse"]},
            {"prompt": Q, "chosen": ["x"], "rejected": []},
            {"prompt": Q, "chosen": "good", "rejected": ["bad", "worse"]},
        ],
        ([pair(0), pair(2)], [(1, "one_answer")]),
    ),
    "label_studio": (
        [
            studio("left"),
            studio("right", "right", "left"),
            studio("left", "right"),
            studio("left", cancelled=True),
            studio(),
        ],
        ([pair(0), pair(1, "bad", "good")], [(2, "tie"), (3, "not_judged"), (4, "not_judged")]),
    ),
    "argilla": (
        [sheet(("response2", "submitted"), ("response1", "draft")), sheet(("response1", "discarded"))],
        ([pair(0)], [(1, "not_judged")]),
    ),
    "summarize_from_feedback": (
        [
            {
                "info": {"post": "I left.", "title": "Gone", "subreddit": "advice", "article": None},
                "summaries": [{"text": " bad", "policy": "p"}, {"text": " good", "policy": "q"}],
                "choice": 1,
            }
        ],
        ([pair(0, prompt="user: SUBREDDIT: r/advice\n\nTITLE: Gone\n\nPOST: I left.\n\nTL;DR:")], []),
    ),
    "answer_objects": (
        [
            graded("1", "4"),
            graded("3", "3"),
            graded("N/A", "N/A", scores=("N/A", 3)),
            graded("1", "4", prompt=None),
            {"instruction": Q, "completions": None},
        ],
        ([pair(0)], [(1, "tie"), (2, "not_judged"), (3, "missing_prompt"), (4, "no_answer")]),
    ),
    "answer_lists": ([listed(1.0, 5.0, None), listed(1.0)], ([pair(0)], [(1, "uneven_lists")])),
    "answers_by_model": (
        [{"prompt": Q, "responses": {"m1": "bad", "m2": "good"}, "scores": {"m1": 1, "m2": 2}}],
        ([pair(0)], []),
    ),
    "numbered_answers": ([by_rank(("bad", 2), ("good", 1), ("?", None))], ([pair(0)], [])),
    "ordered_answers": ([{"instruction": Q, "input": "", "output": ["good", "bad"]}], ([pair(0)], [])),
    "message_rows": (
        [
            said("q", None, Q, role="prompter"),
            said("b", "q", "bad", 1),
            said("g", "q", "good", 0),
            said("f", "g", F, role="prompter"),
            said("x", "f", "alone", 0),
            said("o", "gone", "orphan", 0),
        ],
        (
            [pair(2)],
            [(0, "prompt_row"), (1, "rejected_side"), (3, "prompt_row"), (4, "one_answer"), (5, "no_parent")],
        ),
    ),
    "replies": (
        [{"prompt": {"text": Q, "role": "prompter", "replies": [reply("bad", 1), reply("good", 0)]}}],
        ([pair(0)], []),
    ),
    "answered_turns": (
        [
            {
                "conversation_history": [
                    turn(0, Q),
                    turn(0, "bad", chosen=False, score=9),
                    turn(0, "good", chosen=True, score=80),
                    turn(1, F),
                    turn(1, "Oat.", chosen=True, score=1),
                    turn(1, "None.", chosen=False, score=7),
                ]
            }
        ],
        ([pair(0), pair(0, "Oat.", "None.", f"user: {Q} | assistant: good | user: {F}")], []),
    ),
    "helpsteer": (
        [steered(Q, "bad", 1), steered(LATER, "Oat.", 4), steered(Q, "good", 3), steered(LATER, "None.", 0)],
        (
            [pair(2), pair(1, "Oat.", "None.", f"user: {Q} | assistant: Green. | user: {F}")],
            [(0, "rejected_side"), (3, "rejected_side")],
        ),
    ),
    "labelled_answers": (
        [
            {"messages": [user(Q), assistant("bad")], "label": False},
            {"messages": [user(F), assistant("Oat.")], "label": True},
            {"messages": [user(Q), assistant("good")], "label": True},
            {"messages": [user(Q)], "label": True},
        ],
        ([pair(2)], [(0, "rejected_side"), (1, "one_answer"), (3, "no_answer")]),
    ),
    "scored_answers": (
        [
            {"prompt": Q, "response": text, "score": score}
            for text, score in [("bad", 1), ("good", "2"), ("middling", 1.5)]
        ],
        ([pair(1)], [(0, "rejected_side"), (2, "not_picked")]),
    ),
    "ranked_answers": (
        [{"prompt": Q, "response": text, "rank": rank} for text, rank in [("bad", 2), ("good", 1)]],
        ([pair(1)], [(0, "rejected_side")]),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_rows_become_pairs_or_have_a_reason(name: str) -> None:
    rows, expected = ANSWERS[name]
    pairs, problems = found(rows)
    assert (sorted(pairs), sorted(problems)) == (sorted(expected[0]), sorted(expected[1]))
    assert {row for row, *_ in pairs} | {row for row, _ in problems} == set(range(len(rows)))


def test_every_two_answers_form_pairs_on_request() -> None:
    rows = [{"prompt": Q, "answers": [{"answer": text, "rank": rank} for text, rank in (("b", 2), ("c", 3), ("a", 1))]}]
    assert found(rows, strategy="all") == ([pair(0, "a", "c"), pair(0, "b", "c"), pair(0, "a", "b")], [])
    assert found(rows, strategy="all", max_pairs=1) == ([pair(0, "a", "c")], [])


def test_rows_of_a_pair_are_no_reason_to_warn() -> None:
    rows, _ = ANSWERS["ranked_answers"]
    assert curate.read(rows, errors="raise").height == 1
    with pytest.warns(UserWarning, match=r"2 of 4 rows cannot become pairs \(no_answer 1, one_answer 1\)"):
        curate.read(ANSWERS["labelled_answers"][0])


def test_lists_may_be_json_in_text() -> None:
    rows = [{"prompt": Q, "answers": '[{"answer": "bad", "rank": 2}, {"answer": "good", "rank": 1}]'}]
    assert found(rows) == ([pair(0)], [])


def test_what_else_a_row_says_is_in_extra() -> None:
    rows = [
        {"prompt": Q, "response": text, "score": score, "topic": "tea"} for text, score in [("bad", 1), ("good", 2)]
    ]
    ((frame, _),) = [(f, name) for f, name in read(table_feeds(rows)[0]) if len(f)]
    kept = frame.filter(pl.col("problem").is_null())
    assert kept["extra"].to_list() == [
        '{"topic":"tea","pairing":{"strategy":"max_min","chosen_row":1,"rejected_row":0}}'
    ]
    assert kept.select("chosen_score", "rejected_score").rows() == [(2.0, 1.0)]


def test_a_chosen_answer_with_a_lower_score_still_wins() -> None:
    turns = [turn(0, Q), turn(0, "bad", chosen=False, score=90), turn(0, "good", chosen=True, score=80)]
    assert found([{"conversation_history": turns}]) == ([pair(0)], [])


@pytest.mark.parametrize("text", ["\n\nHuman: Which tea?\n\nAssistant: ", "### Human: Which tea?\n### Assistant:"])
def test_prompts_may_be_transcripts(text: str) -> None:
    rows = [{"prompt": text, "answers": [{"answer": "bad", "rank": 2}, {"answer": "good", "rank": 1}]}]
    assert found(rows) == ([pair(0)], [])
