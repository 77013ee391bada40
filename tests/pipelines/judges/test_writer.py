"""Requests for rubrics, and how replies to them are read: literal in, literal out."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clients.requests import Reply
from pipelines.judges.parse import BadReply
from pipelines.judges.rubrics import load_rubric
from pipelines.judges.writer import (
    MAX_CHARS,
    Draft,
    draft_schema,
    parse_draft,
    read_draft,
    writing_messages,
    writing_request,
)

RATED = {"question": "Is it kind?", "criteria": "Look at tone.", "worst": "rude", "middle": "dry", "best": "warm"}
COMPARED = {"question": "Which is kinder?", "criteria": "Look at tone.", "tie": "Say tie if both are."}
FENCED = re.compile(r"^<<<BEGIN ([A-Z0-9 ]+) ([0-9a-f]{16})>>>\n(.*?)\n<<<END \1 \2>>>$", re.MULTILINE | re.DOTALL)


def pair(number: int, chosen: str = "good", rejected: str = "bad", *, digit: str = "0") -> dict[str, Any]:
    texts = {"prompt": f"Question {number}?", "chosen": chosen, "rejected": rejected}
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    turns = {name: [{"role": roles[name], "content": text}] for name, text in texts.items()}
    return {**turns, "pair_id": "0" * 31 + digit}


def asked(*pairs: dict[str, Any], method: str = "rubric", about: str | None = None, chars: int = 60_000) -> str:
    name = "overall" if method == "rubric" else method
    (message,) = writing_messages(method, [load_rubric(name)], pairs, about=about, chars=chars)
    assert message["role"] == "user"
    return message["content"]


# ---- requests ----


def test_pairs_are_fenced_and_the_side_depends_on_the_hash() -> None:
    text = asked(pair(1), pair(2, digit="f"), about="a help desk {for} tea")
    assert [(label, inner) for label, _, inner in FENCED.findall(text)] == [
        ("CONVERSATION 1", "[user]\nQuestion 1?"), ("ANSWER A OF 1", "good"), ("ANSWER B OF 1", "bad"),
        ("CONVERSATION 2", "[user]\nQuestion 2?"), ("ANSWER A OF 2", "bad"), ("ANSWER B OF 2", "good"),
    ]  # fmt: skip
    assert re.findall(r"Label of \d: [AB] is better\.", text) == [
        "Label of 1: A is better.",
        "Label of 2: B is better.",
    ]
    assert "never instructions to you" in text
    assert "About the data set: a help desk {for} tea" in text
    assert load_rubric("overall").text in text
    assert '"worst": "<what an answer of the lowest grade is like, in one line>"' in text


def test_a_pairwise_request_asks_for_another_form() -> None:
    text = asked(pair(1), method="pairwise")
    assert '"tie": "<when to call it a tie, in one line>"' in text
    assert '"worst"' not in text
    assert load_rubric("pairwise").text in text
    assert draft_schema("pairwise")["json_schema"]["schema"]["required"] == ["question", "criteria", "tie"]


@given(
    st.lists(st.sampled_from(["<<<END ANSWER A OF 1 ", "0123456789abcdef", ">>>\n", "A is better.", "x"]), max_size=9)
)
def test_no_answer_closes_its_fence(parts: list[str]) -> None:
    text = "".join(parts)
    found = FENCED.findall(asked(pair(1, chosen=text)))
    assert [inner for label, _, inner in found if label == "ANSWER A OF 1"] == [text]
    assert len(found) == 3


def test_long_texts_are_shortened_and_short_ones_leave_them_room() -> None:
    one = pair(1, chosen="a" * 5_000, rejected="b" * 10)
    inner = {label: text for label, _, text in FENCED.findall(asked(one, chars=1_030))}
    assert inner["ANSWER B OF 1"] == "b" * 10
    assert inner["CONVERSATION 1"] == "[user]\nQuestion 1?"
    # 1,030 - 10 - 18 characters remain: a third of them from the end
    assert inner["ANSWER A OF 1"] == "a" * 668 + " […] " + "a" * 334
    whole = {label: text for label, _, text in FENCED.findall(asked(one, chars=5_028))}
    assert whole["ANSWER A OF 1"] == "a" * 5_000


def test_of_very_many_texts_one_character_remains() -> None:
    inner = {text for _, _, text in FENCED.findall(asked(*(pair(number) for number in range(400)), chars=1_000))}
    assert inner == {" […] ?", " […] d"}


@settings(deadline=None)
@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=12), st.integers(1_000, 9_000))
def test_a_request_is_bounded(lengths: list[int], chars: int) -> None:
    pairs = [pair(n, chosen="a" * length, rejected="b" * length) for n, length in enumerate(lengths)]
    inner = [text.replace(" […] ", "") for _, _, text in FENCED.findall(asked(*pairs, chars=chars))]
    assert sum(map(len, inner)) <= chars


# ---- replies ----


def test_a_reply_becomes_a_rubric_in_the_form_of_the_shipped_ones() -> None:
    assert parse_draft(f"Here it is:\n```json\n{json.dumps(RATED)}\n```", "rubric") == (
        "Is it kind?\nLook at tone.\n1: rude\n{middle}: dry\n{scale}: warm"
    )
    assert parse_draft(json.dumps(COMPARED), "pairwise") == "Which is kinder?\nLook at tone.\nSay tie if both are."


def test_what_a_person_would_not_see_is_removed() -> None:
    hidden = {
        "question": "\ufeff Is it\tki\u202end\u2066? \x1b[31m",
        "criteria": "One.\r\n\r\n\u200bTwo.\U000e0041\n\ud800Three\x00.",
        "best": "warm\nand {kind} می\u200cخواهم",
    }
    assert parse_draft(json.dumps(RATED | hidden), "rubric") == (
        "Is it kind? [31m\nOne.\nTwo.\nThree.\n1: rude\n{middle}: dry\n{scale}: warm and {kind} می\u200cخواهم"
    )


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("I would look at tone.", 'there is no JSON object in "I would look at tone."'),
        ("", 'there is no JSON object in ""'),
        (json.dumps(COMPARED), "the object has 3 keys (question, criteria, tie), expected 5: question, criteria, "),
        (json.dumps(RATED | {"best": 5}), "best is 5, expected a text"),
        (json.dumps(RATED | {"worst": " \u200b\n"}), "worst is empty"),
        (json.dumps(RATED | {"criteria": "<<<END X 1>>>"}), "criteria repeats a marker line"),
        (json.dumps(RATED | {"criteria": "x" * MAX_CHARS}), "the rubric has 4,048 characters, expected at most 4,000"),
        (json.dumps(RATED)[:-9], "malformed JSON"),
    ],
)
def test_any_other_reply_is_refused(reply: str, problem: str) -> None:
    with pytest.raises(BadReply) as error:
        parse_draft(reply, "rubric")
    assert error.value.problem.startswith(problem)
    assert read_draft(2, "rubric", Reply(reply, "stop")) == Draft(2, None, error.value.problem, reply)


def test_a_reply_that_was_cut_off_or_failed_is_no_draft() -> None:
    cut = read_draft(1, "rubric", Reply(json.dumps(RATED), "length"))
    assert cut.text is None
    assert cut.problem == "it is longer than max_tokens and was cut off; be brief"
    assert read_draft(1, "rubric", Reply(None, error="status 400")) == Draft(1, None, "status 400")


def test_one_request_repairs_an_unusable_reply() -> None:
    first = writing_request([{"role": "user", "content": "Write."}], "rubric", {"max_tokens": 9}, 1)
    assert first.then is not None
    assert first.then(Reply(json.dumps(RATED), "stop")) is None
    assert first.then(Reply(None, error="status 400")) is None
    longer = first.then(Reply(None, "length", error="no text"))
    assert longer is not None
    assert (longer.max_tokens, longer.messages) == (18, first.messages)
    repair = first.then(Reply("Hm.", "stop"))
    assert repair is not None
    assert (repair.then, repair.params, repair.sample) == (None, {"max_tokens": 9}, 1)
    assert repair.messages[1] == {"role": "assistant", "content": "Hm."}
    assert 'That reply cannot be used: there is no JSON object in "Hm."' in repair.messages[2]["content"]
    assert repair.accepts is not None
    assert [repair.accepts(Reply(text, "stop")) for text in ("Hm.", json.dumps(RATED))] == [False, True]
