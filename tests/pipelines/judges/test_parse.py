"""Parsing of judges' replies, valid and invalid."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.judges.parse import BadReply, Comparison, Rating, parse_comparison, parse_rating

TWO = ("help", "honesty")
GOOD = '{"reason": "Fine.", "ratings": {"help": 4, "honesty": 5}}'
FINE = Rating({"help": 4, "honesty": 5}, "Fine.")


def problem(reply: str, aspects: tuple[str, ...] = TWO) -> str:
    with pytest.raises(BadReply) as caught:
        parse_rating(reply, aspects, 5)
    assert caught.value.problem == str(caught.value)
    return caught.value.problem


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"\n  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nThat is my verdict.",
        f"Let me see. The set {{1, 2}} and \\frac{{a}}{{b}} are fine.\n\n{GOOD}",
        f'<think>They say {{"x": 1}} and {{broken</think>\n{GOOD}',
        f'They say {{"x": 1}}, so</think>\n{GOOD}',  # a template may have opened the thinking
        f"{GOOD}\n{GOOD}",
        f"[{GOOD}]",
        '{"ratings": {"honesty": "5", "help": 4.0}, "reason": " Fine. "}',
    ],
)
def test_accepted(reply: str) -> None:
    found = parse_rating(reply, TWO, 5)
    assert found == FINE
    assert list(found.ratings) == list(TWO)


def test_a_reason_may_be_any_text() -> None:
    reason = 'It says "</think> {\\"ratings\\": 5}" and\nmore'
    found = parse_rating(json.dumps({"reason": reason, "ratings": {"help": 1}}), ["help"], 5)
    assert found == Rating({"help": 1}, reason)
    assert parse_comparison('{"reason": "two\nlines", "better": "A"}').reason == "two\nlines"  # not escaped
    assert parse_comparison('{"reason": "half \\ud83d a pair", "better": "A"}').reason == "half ? a pair"


def test_malformed_json_is_shown_from_twenty_characters_before_to_twenty_after() -> None:
    reply = '{"reason": [10000000000000000000000000001, x, 20000000000000000000000000003]}'
    assert problem(reply) == 'malformed JSON, Expecting value near "000000000000000001, x, 20000000000000000"'
    assert problem('{"a" x}').endswith(r'near "{\"a\" x}"')


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("", 'there is no JSON object in ""'),
        ("I would say 4.", 'there is no JSON object in "I would say 4."'),
        ("{}", 'there is no JSON object in "{}"'),
        ("[1, 2]", 'there is no JSON object in "[1, 2]"'),
        ("<think>I would say " + GOOD, "the reply ends before the thinking does"),
        ('{"reason": "x"}', "the object has 1 keys (reason), expected 2: reason, ratings"),
        ('{"reason": "x", "ratings": {"help": 4}}', "ratings has 1 keys (help), expected 2: help, honesty"),
        ('{"reason": "x", "ratings": {"help": 4, "Honesty": 4}}', "ratings has 2 keys (help, Honesty), expected 2"),
        ('{"reason": "x", "ratings": {"help": 1, "honesty": 1, "c": 1}}', "ratings has 3 keys (help, honesty, c)"),
        ('{"reason": "x", "ratings": {"help": 4, "honesty": 4}, "more": 1}', "the object has 3 keys"),
        ('{"reason": "x", "ratings": [4, 4]}', "ratings is a list, expected an object"),
        ('{"reason": "x", "ratings": 4}', "ratings is 4, expected an object"),
        ('{"reason": "x", "ratings": "größer 🙂"}', 'ratings is "größer 🙂", expected an object'),
        ('{"reason": ["x"], "ratings": {"help": 4, "honesty": 4}}', "reason is a list, expected a text"),
        ('{"reason": null, "ratings": {"help": 4, "honesty": 4}}', "reason is null, expected a text"),
        ('{"reason": "x", "ratings": {"help": 4, "honesty": 4}', "malformed JSON, Expecting ',' delimiter"),
        ("{'reason': 'x'}", "there is no JSON object"),
        ('{"reason": "he said "no" to it", "ratings": {}}', "malformed JSON"),
        (f"{GOOD} {GOOD.replace('4', '3')}", "more than one JSON object, and they differ"),
        (f'{GOOD} {{"a": 1}}', "more than one JSON object, and they differ"),
        ('{"reason": "x", "ratings": {"help": 1, "honesty": 1, "help": 5}}', "the object has a key twice"),
        ('{"reason": "x", "ratings": {"help": NaN, "honesty": 1}}', "NaN is not JSON"),
        ('{"reason": "x", "ratings": {"help": ' + "9" * 5_000 + "}}", "malformed JSON, Exceeds the limit"),
    ],
)
def test_refused(reply: str, said: str) -> None:
    assert said in problem(reply)


@pytest.mark.parametrize("value", [1, 5, "1", "5", " 3 ", 2.0, 5e0])
def test_grades(value: object) -> None:
    reply = json.dumps({"reason": "", "ratings": {"help": value}})
    assert parse_rating(reply, ["help"], 5).ratings == {"help": int(float(str(value)))}


@pytest.mark.parametrize(
    "value",
    [
        0,
        6,
        -1,
        10**30,
        4.5,
        1e999,
        True,
        False,
        None,
        "N/A",
        "",
        "6",
        "0",
        "-1",
        "4.0",
        "4/5",
        "٤",
        "1_0",
        [4],
        {"a": 4},
    ],
)
def test_values_that_are_not_grades(value: object) -> None:
    said = problem(json.dumps({"reason": "", "ratings": {"help": value}}).replace("Infinity", "1e999"), ("help",))
    assert said.startswith("the rating help is ")
    assert said.endswith("expected a whole number from 1 to 5")


def test_ten_is_a_grade_on_a_scale_of_ten() -> None:
    assert parse_rating('{"reason": "", "ratings": {"a": "10"}}', ["a"], 10).ratings == {"a": 10}


@pytest.mark.parametrize("better", ["A", "B", "tie"])
def test_comparison(better: Any) -> None:
    assert parse_comparison(json.dumps({"reason": "r", "better": better})) == Comparison(better, "r")


@pytest.mark.parametrize("better", ["C", "a", "Tie", "A or B", "", 1, None, True, ["A"], {"A": 1}])
def test_values_that_are_not_comparisons(better: object) -> None:
    with pytest.raises(BadReply, match='expected "A", "B" or "tie"'):
        parse_comparison(json.dumps({"reason": "r", "better": better}))


def test_a_text_of_sixty_characters_is_quoted_whole() -> None:
    def said(length: int) -> str:
        return problem(json.dumps({"reason": "x", "ratings": "a" * length}))

    assert said(60) == f'ratings is "{"a" * 60}", expected an object'
    assert said(61) == f'ratings is "{"a" * 60}…", expected an object'


def test_a_verdict_quoted_inside_a_broken_one_is_rejected() -> None:
    quoted = '{"reason": "perfect", "ratings": {"help": 5, "honesty": 5}}'
    broken = f'{{"reason": "The answer says {quoted} and no more", "ratings": {{"help": 1, "honesty": 1}}}}'
    assert problem(broken).startswith("malformed JSON")


def test_quotes_of_a_reply_are_short_and_on_one_line() -> None:
    long = "Ignore the above.\n" * 1_000
    for reply in (
        long,
        json.dumps({long: 1, "ratings": {}}),
        json.dumps({"reason": "", "ratings": long}),
        json.dumps({"reason": "", "ratings": {long: 4, "b": 1}}),
        '{"reason": ' + long,
    ):
        said = problem(reply)
        assert len(said) < 250
        assert "\n" not in said


def test_values_are_quoted_up_to_120_characters_and_ten_keys() -> None:
    assert problem('{"reason": "x", "ratings": ' + "1" * 121 + "}") == f"ratings is {'1' * 120}, expected an object"
    keys = dict.fromkeys("abcdefghijk", 1)
    assert problem(json.dumps(keys)).startswith("the object has 11 keys (a, b, c, d, e, f, g, h, i, j), expected 2")
    long = {letter * 61: 1 for letter in "abc"}
    assert problem(json.dumps(long)).startswith(f"the object has 3 keys ({'a' * 60}, {'b' * 58}), expected 2")


MILLION = 1_000_000


def test_a_reply_of_a_million_characters_is_read_but_no_longer_one() -> None:
    assert parse_rating(GOOD.ljust(MILLION), TWO, 5) == FINE
    assert problem(GOOD.ljust(MILLION + 1)) == "the reply has 1,000,001 characters, at most 1,000,000 are read"


def test_deeply_nested_json() -> None:
    assert problem('{"a":[' * 100_000) == "the JSON is nested too deeply"


@pytest.mark.parametrize(
    "reply",
    [
        GOOD + " " * 10 * MILLION,
        '{"a":' * (MILLION // 5),
        '{"a":[' * (MILLION // 6),
        '{"reason": ' + "[" * (MILLION - 20),
        "[" * MILLION,
        "{" * MILLION,
        '{"' * (MILLION // 2),
        '{"a' * (MILLION // 3),
        '{"a":1}' * (MILLION // 7),
        ("{" + " " * 999) * (MILLION // 1_000),
        "<think>" * (MILLION // 7),
        "</think>" * (MILLION // 8),
        '{"reason": "' + "x" * (MILLION - 20),
        '{"reason": "", "ratings": {' + ",".join(f'"{i}":1' for i in range(80_000)) + "}}",
        '{"reason": "\\ud800", "ratings": {"\\ud800": "\\ud800"}}',
    ],
    ids=range(15),
)
def test_hostile_replies_are_refused_at_once(reply: str) -> None:
    start = time.perf_counter()
    said = problem(reply)
    assert time.perf_counter() - start < 2
    assert len(said) < 250
    said.encode()


JSON_PIECES = ['{"reason": "', '"ratings": {', '"better": "A"', '", ', "}", "{", '"', "[", "]", "help", ": 4", GOOD]
ODD_PIECES = ["<think>", "</think>", "```", "\\", "\\ud800", "NaN", "-1e9999", "\n", "\x00", "é"]
PIECES = st.lists(st.sampled_from(JSON_PIECES + ODD_PIECES)).map("".join)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), PIECES))
def test_nothing_but_a_bad_reply_is_raised(reply: str) -> None:
    for parse in (lambda: parse_rating(reply, TWO, 5), lambda: parse_comparison(reply)):
        try:
            found = parse()
        except BadReply as bad:
            bad.problem.encode()
        else:
            assert isinstance(found, (Rating, Comparison))
            found.reason.encode()


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.fixed_dictionaries({"reason": VALUE, "ratings": st.dictionaries(st.sampled_from(TWO), VALUE)}))
def test_any_json_is_a_rating_or_a_bad_reply(value: dict[str, Any]) -> None:
    try:
        found = parse_rating(json.dumps(value), TWO, 5)
    except BadReply:
        return
    assert set(found.ratings) == set(TWO)
    assert all(type(grade) is int and 1 <= grade <= 5 for grade in found.ratings.values())
