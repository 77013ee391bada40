"""Pairing: a set of answers is written as (text, score) or a dict, a pair as "chosen > rejected"."""

import json
from hashlib import sha256
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError, RecipeError
from curate.pairing import ABOUT, STAGES, STRATEGIES, pair
from curate.pairing.settings import TOLERANCE
from curate.recipe.models import Pair, Strategy
from curate.schema import CANDIDATES, STAGED, with_ids
from tests.data import plain

Answer = dict[str, Any]
NAN = float("nan")
SCORED = [name for name in STRATEGIES if name != "delta"]
PICKING = [name for name in SCORED if name != "all"]


def said(text: str | None, role: str = "assistant") -> list[dict[str, str]] | None:
    return None if text is None else [{"role": role, "content": text}]


def answer(number: int, text: str | None, score: float | None = None, model: str = "m", **more: Any) -> Answer:
    """Return the row of a set's n-th answer; an answer without text has failed."""
    row = {
        "prompt": said("q", "user"),
        "candidate_id": f"c{number}",
        "response": said(text),
        "model": model,
        "on_policy": True,
        "error": "timeout" if text is None else None,
        "score": score,
        "source": "s",
        "source_row": 0,
    }
    return row | more


def frame(rows: list[Answer]) -> pl.DataFrame:
    return pl.DataFrame([{name: row.get(name) for name in CANDIDATES} for row in rows], schema=CANDIDATES)


def one_set(*answers: tuple[Any, ...] | Answer) -> pl.DataFrame:
    """Return candidates of one set, each given as (text, score, model)."""
    return frame([answer(n, **a) if isinstance(a, dict) else answer(n, *a) for n, a in enumerate(answers)])


def shown(staged: pl.DataFrame) -> list[str]:
    """Return every row as "chosen > rejected" or "problem: detail"."""
    assert staged.schema == STAGED
    return [
        f"{row['problem']}: {row['detail']}"
        if row["problem"]
        else f"{row['chosen'][0]['content']} > {row['rejected'][0]['content']}"
        for row in staged.iter_rows(named=True)
    ]


def paired(*answers: tuple[Any, ...] | Answer, **wanted: Any) -> list[str]:
    return shown(pair(one_set(*answers), **wanted))


FOUR = [("mid", 3.0), ("worst", 1.0), ("best", 5.0), ("good", 4.0)]


# One pair, with all its columns


def test_a_pair_with_all_its_columns() -> None:
    details: Answer = {"judge": "j", "finish_reason": "stop", "params": '{"seed": 1}', "reason": 'is "good"'}
    details["scores"] = [{"aspect": "honesty", "score": 4.0}]
    good = answer(0, "yes", 4.0, "big", prompt_id="x", **details)
    staged = pair(frame([good, answer(1, "no", 2.0, "small")]))
    row = plain(staged.row(0, named=True))
    extra = json.loads(row.pop("extra"))
    ids = with_ids(pl.DataFrame({side: [row[side]] for side in ("prompt", "chosen", "rejected")})).row(0, named=True)
    ids = plain(ids)
    assert row == ids | {
        "tools": None,
        "source": "s",
        "source_row": 0,
        "prompt": said("q", "user"),
        "chosen": said("yes"),
        "rejected": said("no"),
        "chosen_score": 4.0,
        "rejected_score": 2.0,
        "strength": None,
        "chosen_model": "big",
        "rejected_model": "small",
        "problem": None,
        "detail": None,
    }
    assert {name: value for name, value in extra.items() if value is not None} == {
        "strategy": "max_min",
        "judge": "j",
        "chosen_candidate_id": "c0",
        "chosen_finish_reason": "stop",
        "chosen_params": '{"seed": 1}',
        "chosen_scores": [{"aspect": "honesty", "score": 4.0}],
        "chosen_reason": 'is "good"',
        "rejected_candidate_id": "c1",
    }


def test_a_set_without_a_pair_keeps_its_prompt_and_has_no_ids() -> None:
    row = plain(pair(one_set(("a", 4.0), ("b", 4.0))).row(0, named=True))
    assert {name: value for name, value in row.items() if value is not None} == {
        "source": "s",
        "source_row": 0,
        "prompt": said("q", "user"),
        "problem": "tie",
        "detail": "best 4.0, worst 4.0",
    }


def test_no_candidates_give_no_rows() -> None:
    for strategy in STRATEGIES:
        for matched in (False, True):
            staged = pair(
                pl.DataFrame(schema=CANDIDATES),
                strategy=strategy,
                order=("a", "b"),
                length_matched=matched,
                max_pairs=1,
            )
            assert staged.equals(pl.DataFrame(schema=STAGED))


def test_sets_are_in_the_order_of_their_first_answers() -> None:
    places = [("b", 7), ("a", 3), ("b", 7), ("b", 3), ("a", 3), ("b", 3)]
    rows = [
        answer(n, f"{source}{row}-{n}", float(n), source=source, source_row=row)
        for n, (source, row) in enumerate(places)
    ]
    staged = pair(frame(rows))
    assert shown(staged) == ["b7-2 > b7-0", "a3-4 > a3-1", "b3-5 > b3-3"]
    assert staged.select("source", "source_row").rows() == [("b", 7), ("a", 3), ("b", 3)]


def test_the_answers_of_sets_may_be_interleaved() -> None:
    rows = [answer(n, f"{row}-{n}", float(n), source_row=row) for n, row in enumerate((1, 0, 0, 1))]
    assert shown(pair(frame(rows))) == ["1-3 > 1-0", "0-2 > 0-1"]


def test_pairs_and_problems_are_in_the_order_of_the_sets() -> None:
    rows = [answer(n, text, 1.0 + n % 2, source_row=n // 2) for n, text in enumerate("ab")]
    rows += [answer(2, "c", 1.0, source_row=1)]
    rows += [answer(n, text, 1.0 + n % 2, source_row=2) for n, text in enumerate("de", 4)]
    assert shown(pair(frame(rows))) == ["b > a", "one_answer: usable 1 of 1, different 1", "e > d"]


# Each strategy


@pytest.mark.parametrize(
    ("strategy", "answers", "pairs"),
    [
        ("max_min", FOUR, ["best > worst"]),
        ("max_min", [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)], ["b > a"]),  # of equal scores the first
        ("max_min", [("a", None), ("b", 2.0), ("c", 1.0), ("d", NAN), ("e", float("inf"))], ["b > c"]),
        ("max_min", [("a", 4.0), ("b", 2.0), (None, 1.0)], ["a > b"]),  # a score without an answer
        ("max_min", [("a", -1.5), ("b", -2.5)], ["a > b"]),
        ("sweet_spot", FOUR, ["best > worst"]),
        ("sweet_spot", [("a", 4.0), ("b", 4.0), ("c", 3.0)], ["a > c"]),
        ("all", FOUR, ["best > worst", "good > worst", "mid > worst", "best > mid", "best > good", "good > mid"]),
        ("all", [("a", 2.0), ("b", 2.0), ("c", 1.0), ("d", None)], ["a > c", "b > c"]),
    ],
)
def test_the_pairs_of_each_strategy(strategy: str, answers: list[tuple[str, float]], pairs: list[str]) -> None:
    assert paired(*answers, strategy=strategy) == pairs


@pytest.mark.parametrize(
    ("scores", "rejected"),
    [
        ([7, 7, 6, 5, 4, 4, 3, 2, 1, 1], "1-8"),  # mean 4, deviation 2.14: -0.29 is below all of them
        ([9, 9, 9, 9, 9, 9, 9, 9, 4, 0, 10, 10, 10], "4-8"),  # 8.15 - 2 * 2.77 = 2.62 is nearer to 4 than to 0
        ([0, 2, 7, 7, 7, 8, 8, 8, 8, 9, 9], "2-1"),  # 1.09; the deviation of a sample would give 0.82, nearer to 0
    ],
)
def test_sweet_spot_is_two_deviations_below_the_mean(scores: list[int], rejected: str) -> None:
    answers = [(f"{score}-{n}", float(score)) for n, score in enumerate(scores)]
    best = scores.index(max(scores))
    assert paired(*answers, strategy="sweet_spot") == [f"{max(scores)}-{best} > {rejected}"]


@pytest.mark.slow
def test_random_lower_selects_by_salt_and_id() -> None:
    drawn = set()
    backwards = frame(list(reversed([answer(n, *a) for n, a in enumerate(FOUR)])))
    for salt in map(str, range(40)):
        [picked] = paired(*FOUR, strategy="max_random_lower", salt=salt)
        # Ids belong to texts: the same answers in another order give the same pair.
        assert shown(pair(backwards, strategy="max_random_lower", salt=salt)) == [picked]
        drawn.add(picked)
    assert drawn == {"best > mid", "best > worst", "best > good"}


@pytest.mark.parametrize(("salt", "picked"), [("prefcurate", "best > mid"), ("b", "best > good")])
def test_random_lower_never_changes(salt: str, picked: str) -> None:
    """The first of the lower ones by the hex digest of sha256("SALT|ID"), as the standard library computes it."""
    lower = {"mid": "c0", "worst": "c1", "good": "c3"}
    first = min(lower, key=lambda text: sha256(f"{salt}|{lower[text]}".encode()).hexdigest())
    assert paired(*FOUR, strategy="max_random_lower", salt=salt) == [f"best > {first}"] == [picked]


def test_random_lower_respects_the_margin() -> None:
    for salt in map(str, range(10)):
        assert paired(*FOUR, strategy="max_random_lower", salt=salt, min_margin=3) == ["best > worst"]


def test_sweet_spot_respects_the_margin() -> None:
    scores = [9, 9, 9, 9, 9, 9, 9, 9, 4, 0, 10, 10, 10]
    answers = [(f"{score}-{n}", float(score)) for n, score in enumerate(scores)]
    assert paired(*answers, strategy="sweet_spot", min_margin=7) == ["10-10 > 0-9"]


@pytest.mark.parametrize(
    ("wanted", "pairs"),
    [
        ({"max_pairs": 2}, ["best > worst", "good > worst"]),
        ({"min_margin": 2.5}, ["best > worst", "good > worst"]),
        ({"min_margin": 2.0, "max_pairs": 3}, ["best > worst", "good > worst", "mid > worst"]),
        ({"min_chosen_score": 4.5}, ["best > worst", "best > mid", "best > good"]),
        ({"min_chosen_score": 4.0, "min_margin": 2.0}, ["best > worst", "good > worst", "best > mid"]),
        ({"length_matched": True, "near": 9.0, "max_pairs": 1}, ["best > worst"]),
    ],
)
def test_all_with_bounds(wanted: dict[str, Any], pairs: list[str]) -> None:
    assert paired(*FOUR, strategy="all", **wanted) == pairs


def test_of_equal_leads_the_first_answers_are_paired_first() -> None:
    answers = [("a", 5.0), ("b", 5.0), ("c", 1.0), ("d", 1.0)]
    assert paired(*answers, strategy="all") == ["a > c", "a > d", "b > c", "b > d"]


def test_max_pairs_counts_within_a_set() -> None:
    rows = [answer(n, f"{n}", float(n), source_row=n // 3) for n in range(6)]
    assert shown(pair(frame(rows), strategy="all", max_pairs=2)) == ["2 > 0", "1 > 0", "5 > 3", "4 > 3"]


OWN_AND_OTHERS: list[Answer] = [
    {"text": "best", "score": 5.0, "on_policy": False},
    {"text": "own", "score": 4.0, "on_policy": True},
    {"text": "own too", "score": 2.0, "on_policy": True},
    {"text": "worst", "score": 1.0, "on_policy": None},
]


def test_on_policy_answers_are_compared_with_each_other_only() -> None:
    assert paired(*OWN_AND_OTHERS, strategy="best_of_on_policy") == ["own > own too"]
    assert paired(*OWN_AND_OTHERS) == ["best > worst"]


BIG_AND_SMALL = [
    ("small 1", None, "small"),
    ("big 1", NAN, "big"),
    ("mid 1", 5.0, "mid"),
    ("big 2", 1.0, "big"),
    ("small 2", 5.0, "small"),
    ("small 3", 5.0, "small"),
]


@pytest.mark.parametrize(
    ("wanted", "pairs"),
    [
        ({"order": ("big", "mid", "small")}, ["big 1 > small 1", "big 2 > small 2"]),
        ({"order": ("big", "mid", "small"), "max_pairs": 1}, ["big 1 > small 1"]),
        ({"order": ("huge", "mid", "small", "tiny")}, ["mid 1 > small 1"]),  # of those that answered
        ({"order": ("small", "mid", "small")}, ["small 1 > mid 1"]),  # named twice: the first position counts
        ({"order": ("big", "small"), "min_margin": 9.0, "min_chosen_score": 9.0, "max_pairs": 1}, ["big 1 > small 1"]),
    ],
)
def test_delta_takes_the_first_and_the_last_model_that_answered(wanted: dict[str, Any], pairs: list[str]) -> None:
    assert paired(*BIG_AND_SMALL, strategy="delta", **wanted) == pairs


def test_delta_keeps_known_scores() -> None:
    staged = pair(one_set(*BIG_AND_SMALL), strategy="delta", order=("big", "small"))
    assert staged.select("chosen_score", "rejected_score").rows() == [(None, None), (1.0, 5.0)]


def test_delta_skips_failed_answers_and_equal_pairs() -> None:
    answers = [(None, None, "big"), ("a", None, "big"), ("a", None, "small"), ("b", None, "big"), ("c", None, "small")]
    assert paired(*answers, strategy="delta", order=("big", "small")) == ["b > c"]


# Bounds


@pytest.mark.parametrize("strategy", SCORED)
def test_the_margin_itself_is_enough(strategy: str) -> None:
    assert paired(("a", 3.0), ("b", 2.0), strategy=strategy, min_margin=1.0) == ["a > b"]


@pytest.mark.parametrize("strategy", SCORED)
def test_rounding_errors_are_tolerated(strategy: str) -> None:
    assert 4.6 - 3.6 < 1 < 1.1 - 0.1 + TOLERANCE  # why there is a tolerance
    assert paired(("a", 4.6), ("b", 3.6), strategy=strategy, min_margin=1.0) == ["a > b"]
    assert paired(("a", 0.1 + 0.2), ("b", 0.3), strategy=strategy) == ["tie: best 0.30000000000000004, worst 0.3"]
    assert paired(("a", 0.3), ("b", 0.0), strategy=strategy, min_chosen_score=0.1 + 0.2) == ["a > b"]


@pytest.mark.parametrize("strategy", SCORED)
def test_a_score_at_the_floor_is_enough(strategy: str) -> None:
    assert paired(("a", 3.0), ("b", 2.0), strategy=strategy, min_chosen_score=3.0) == ["a > b"]
    assert paired(("a", 0.0), ("b", -2.0), strategy=strategy, min_chosen_score=0.0) == ["a > b"]
    below = ["chosen_below_floor: best -0.5, min_chosen_score 0.0"]
    assert paired(("a", -0.5), ("b", -2.0), strategy=strategy, min_chosen_score=0.0) == below


@pytest.mark.parametrize("strategy", PICKING)
def test_one_pair_per_set_except_for_all_and_delta(strategy: str) -> None:
    assert len(paired(*FOUR, strategy=strategy, max_pairs=9)) == 1


# Lengths


LENGTHS = [
    ("best, and very very long", 5.0),
    ("nearly best", 4.5),
    ("no", 1.0),
    ("no, no, no", 1.4),
    ("hm, hm, hmm", 3.0),
]


@pytest.mark.parametrize(
    ("wanted", "picked"),
    [
        ({"length_matched": False, "near": 9.0}, "best, and very very long > no"),
        ({"length_matched": True, "near": 0.0}, "best, and very very long > no"),
        ({"length_matched": True, "near": 0.4}, "best, and very very long > no, no, no"),  # 1.4 is equal, 4.5 is not
        ({"length_matched": True, "near": 0.5}, "nearly best > no, no, no"),
        ({"length_matched": True, "near": 2.0}, "nearly best > hm, hm, hmm"),
        ({"length_matched": True, "near": 2.0, "min_margin": 2.0}, "nearly best > no, no, no"),
        ({"length_matched": True, "near": 2.0, "min_chosen_score": 4.6}, "best, and very very long > hm, hm, hmm"),
    ],
)
def test_of_near_scores_the_closest_in_length_is_picked(wanted: dict[str, Any], picked: str) -> None:
    assert paired(*LENGTHS, **wanted) == [picked]


def test_ties_in_length_go_to_the_first() -> None:
    answers = [("aa", 5.0), ("bb", 5.0), ("cc", 1.0), ("dd", 1.0)]
    assert paired(*answers, length_matched=True) == ["aa > cc"]


def test_length_is_in_characters_of_the_last_message() -> None:
    long: Answer = {
        "text": "x",
        "score": 1.0,
        "response": [*(said("a very long plan") or []), *(said("tool", "tool") or [])],
    }
    short: Answer = {"text": "x", "score": 1.0, "response": [*(said("") or []), *(said("much longer", "tool") or [])]}
    staged = pair(one_set(("éé漢漢", 5.0), short, long), length_matched=True)
    assert plain(staged.get_column("rejected").to_list()) == [long["response"]]
    # A last message without content counts as empty.
    silent: Answer = {"text": "x", "score": 1.0, "response": [*(said("plan") or []), {"role": "tool", "content": None}]}
    eight: Answer = {"text": "12345678", "score": 1.0}
    for answers in ((silent, eight), (eight, silent)):  # each differs from the best one by four characters
        staged = pair(one_set(("éé漢漢", 5.0), *answers), length_matched=True)
        assert plain(staged.get_column("rejected").to_list()) == [answers[0].get("response", said("12345678"))]


def test_length_is_matched_around_the_selected_answer() -> None:
    """With sweet_spot the selected answer has neighbours on both sides."""
    scores = [9, 9, 9, 9, 9, 9, 9, 9, 4, 0, 10, 10, 10, 5, 3]
    answers = [(f"{score}-{n}" + "x" * (score < 6) * n, float(score)) for n, score in enumerate(scores)]
    [plain] = paired(*answers, strategy="sweet_spot")
    [matched] = paired(*answers, strategy="sweet_spot", length_matched=True, near=1.0)
    assert plain.split(" > ")[1].startswith("3-")
    assert matched.split(" > ")[1].startswith("4-")  # the shorter one


# Repeated answers


@pytest.mark.parametrize(
    ("answers", "pairs"),
    [
        ([("a", 5.0), ("a", 1.0), ("b", 3.0)], ["a > b"]),  # the best is not paired with itself
        ([("a", 1.0), ("a", 5.0), ("b", 3.0)], ["a > b"]),
        ([("a", 5.0), ("b", 5.0), ("a", 1.0)], ["b > a"]),  # the first best answer beats only its own copy
        ([("a", 5.0), ("a", 1.0), ("b", 5.0), ("c", 4.0)], ["a > c"]),
    ],
)
def test_equal_answers_are_never_a_pair(answers: list[tuple[str, float]], pairs: list[str]) -> None:
    assert paired(*answers) == pairs


def test_equal_answers_can_leave_no_pair_with_the_margin() -> None:
    answers = [("a", 5.0), ("a", 1.0), ("b", 3.0)]
    assert paired(*answers, min_margin=2.5) == ["below_margin: best 5.0, worst 1.0, lead 2.0, min_margin 2.5"]
    # 3.5 leads 1 by enough and is not good enough; 5 is good enough and leads 3.5 by too little.
    answers = [("a", 5.0), ("a", 1.0), ("b", 3.5)]
    assert paired(*answers, min_margin=2.0, min_chosen_score=4.0) == [
        "below_margin: best 5.0, worst 1.0, lead 1.5, min_margin 2.0"
    ]
    assert paired(*answers, min_margin=2.0) == ["b > a"]


def test_answers_with_other_roles_are_not_equal() -> None:
    other: Answer = {"text": "x", "score": 1.0, "response": said("a", "tool")}
    assert paired(("a", 5.0), other) == ["a > a"]


# Why there is no pair


@pytest.mark.parametrize(
    ("answers", "wanted", "problem"),
    [
        ([(None,), (None,)], {}, "no_answer: timeout"),
        (
            [{"text": None, "error": error} for error in ("once", "often", None, None, None, "often")],
            {},
            "no_answer: often",
        ),
        ([{"text": None, "error": error} for error in ("first", "second")], {}, "no_answer: first"),
        ([{"text": None, "error": None}], {}, "no_answer: no error is given"),
        ([{"text": "x", "response": []}], {}, "no_answer: no error is given"),
        ([("a", 5.0), (None, 1.0)], {}, "one_answer: usable 1 of 2, different 1"),
        ([("a", 5.0), ("a", 1.0), ("a", None)], {}, "one_answer: usable 3 of 3, different 1"),
        ([("a", 5.0), ("b",), ("c", NAN)], {}, "not_judged: judged 1 of 3"),
        ([("a",), ("b",)], {}, "not_judged: judged 0 of 2"),
        ([("a", 5.0), ("a", 1.0), ("b",)], {}, "not_judged: judged 1 of 2"),  # the two are equal
        ([("a", 2.0), ("b", 1.0)], {"min_chosen_score": 3}, "chosen_below_floor: best 2.0, min_chosen_score 3.0"),
        ([("a", 2.0), ("b", 2.0)], {"min_chosen_score": 3}, "chosen_below_floor: best 2.0, min_chosen_score 3.0"),
        ([("a", 3.0), ("b", 3.0)], {"min_chosen_score": 3}, "tie: best 3.0, worst 3.0"),
        ([("a", 4.0), ("b", 4.0), ("c",)], {"min_margin": 1}, "tie: best 4.0, worst 4.0"),
        ([("a", 4.0), ("b", 3.5)], {"min_margin": 1}, "below_margin: best 4.0, worst 3.5, lead 0.5, min_margin 1.0"),
    ],
)
@pytest.mark.parametrize("strategy", SCORED)
def test_why_there_is_no_pair(strategy: str, answers: list[Any], wanted: dict[str, Any], problem: str) -> None:
    assert paired(*answers, strategy=strategy, **wanted) == [problem]


def own(text: str | None, score: float | None, *, on_policy: bool | None = True) -> Answer:
    return {"text": text, "score": score, "on_policy": on_policy}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (
            [own("a", 3.0), own("b", 1.0, on_policy=False), own("c", 2.0, on_policy=None)],
            "no_on_policy: on policy 1 of 3",
        ),
        ([own("a", 3.0), own("a", 2.0), own("b", 1.0, on_policy=False)], "no_on_policy: on policy 1 of 2"),
        ([own("a", 3.0, on_policy=False), own("b", 2.0, on_policy=False)], "no_on_policy: on policy 0 of 2"),
        ([own("a", None), own("b", 1.0, on_policy=False)], "not_judged: judged 1 of 2"),
        ([own("a", 3.0), own(None, None), own("b", 1.0, on_policy=False)], "no_on_policy: on policy 1 of 2"),
        # Two are judged, but only one of its own two.
        (
            [own("a", None), own("b", None), own("c", 1.0, on_policy=False), own("d", 2.0, on_policy=False)],
            "not_judged: judged 2 of 4",
        ),
        ([own("a", None), own("b", 3.0), own("c", 1.0, on_policy=False)], "not_judged: judged 2 of 3"),
        ([own("a", 3.0), own("b", 3.0), own("c", 1.0, on_policy=False)], "tie: best 3.0, worst 3.0"),
    ],
)
def test_why_there_is_no_pair_on_policy(answers: list[Answer], problem: str) -> None:
    assert paired(*answers, strategy="best_of_on_policy") == [problem]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([(None, None, "big")], "no_answer: timeout"),
        ([("a", 1.0, "big"), (None, None, "small")], "one_answer: usable 1 of 2, different 1"),
        ([("a", 1.0, "big"), ("b", 2.0, "big"), (None, None, "small")], "missing_model: answered: big"),
        ([("a", 1.0, "x"), ("b", 2.0, None)], "missing_model: answered: none"),
        ([("a", 1.0, "small"), ("b", 1.0, "x"), ("a", 1.0, "big")], "one_answer: the same answers: small, big"),
        ([("a", 1.0, "big"), ("b", 1.0, "x"), ("a", 1.0, "small")], "one_answer: the same answers: big, small"),
    ],
)
def test_why_delta_finds_no_pair(answers: list[Any], problem: str) -> None:
    assert paired(*answers, strategy="delta", order=("big", "small")) == [problem]


def test_every_reason_has_a_stage_and_a_description() -> None:
    assert list(STAGES) == list(ABOUT)
    assert {reason: stage for reason, stage in STAGES.items() if stage != "pair"} == {
        "no_answer": "generate",
        "cut_off": "generate",
        "not_judged": "judge",
    }


# Settings


def test_the_recipe_knows_the_same_strategies_and_settings() -> None:
    assert get_args(Strategy) == tuple(STRATEGIES)
    section = Pair()
    assert pair.__kwdefaults__ == section.model_dump()
    assert shown(pair(one_set(*FOUR), **section.model_dump())) == ["best > worst"]


def test_an_unknown_strategy_suggests_the_closest() -> None:
    with pytest.raises(RecipeError, match=r"unknown strategy 'max_mim'\. Did you mean 'max_min'\?"):
        paired(*FOUR, strategy="max_mim")


@pytest.mark.parametrize("order", [(), ("big",), ("big", "big")])
def test_delta_needs_two_models(order: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=r"pair\.order: delta needs at least two models"):
        paired(*BIG_AND_SMALL, strategy="delta", order=order)


def test_other_columns_are_an_error() -> None:
    with pytest.raises(InputError, match="candidates does not have the expected columns: response is missing"):
        pair(one_set(*FOUR).drop("response"))


# Properties


ANSWERS = st.lists(
    st.fixed_dictionaries(
        {
            # Few texts and few scores, so that ties and repetitions are common.
            "text": st.sampled_from([None, "", "a", "b", "cc", "dddd"]),
            "score": st.sampled_from([None, NAN, 0.0, 1.0, 2.0, 2.5, 4.6, 3.6]),
            "model": st.sampled_from([None, "big", "mid", "small"]),
            "on_policy": st.sampled_from([True, True, False, None]),
        }
    ),
    min_size=1,
    max_size=6,
)
SETS = st.lists(ANSWERS, min_size=1, max_size=6)
WANTED = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(list(STRATEGIES)),
        "min_margin": st.sampled_from([0.0, 0.5, 1.0, 2.1]),
        "min_chosen_score": st.sampled_from([None, 1.0, 2.5]),
        "near": st.sampled_from([0.0, 1.0]),
        "length_matched": st.booleans(),
        "order": st.just(("big", "mid", "small")),
        "max_pairs": st.sampled_from([None, 1, 2]),
    }
)
MANY = settings(deadline=None, max_examples=100)
Sets = list[list[Answer]]


def rows_of(sets: Sets) -> list[Answer]:
    return [answer(n, source_row=row, **a) for row, answers in enumerate(sets) for n, a in enumerate(answers)]


def possible(answers: list[Answer], strategy: str, margin: float, floor: float | None) -> list[tuple[Answer, Answer]]:
    """Return every pair that the scores allow, in plain Python."""
    pool = [
        a
        for a in answers
        if a["response"] is not None and a["score"] is not None and a["score"] == a["score"]  # not NaN
        if a["on_policy"] or strategy != "best_of_on_policy"
    ]
    return [
        (a, b)
        for a in pool
        for b in pool
        if a["response"] != b["response"]
        and a["score"] - b["score"] > TOLERANCE
        and a["score"] - b["score"] >= margin - TOLERANCE
        and (floor is None or a["score"] >= floor)
    ]


@pytest.mark.slow
@MANY
@given(SETS, WANTED)
def test_every_set_yields_the_pairs_it_can_or_one_reason(sets: Sets, wanted: dict[str, Any]) -> None:
    rows = rows_of(sets)
    staged = pair(frame(rows), **wanted)
    assert staged.get_column("source_row").unique(maintain_order=True).to_list() == list(range(len(sets)))
    strategy, most = wanted["strategy"], wanted["max_pairs"]
    for number in range(len(sets)):
        found = staged.filter(source_row=number).to_dicts()
        answers = [row for row in rows if row["source_row"] == number]
        if found[0]["problem"]:
            assert len(found) == 1
            assert found[0]["problem"] in ABOUT
            assert found[0]["detail"]
        if strategy == "delta":
            continue
        can = possible(answers, strategy, wanted["min_margin"], wanted["min_chosen_score"])
        assert (found[0]["problem"] is None) == bool(can)
        expected = min(len(can), most or len(can)) if strategy == "all" else min(len(can), 1)
        assert sum(row["problem"] is None for row in found) == expected


@pytest.mark.slow
@MANY
@given(SETS, WANTED)
def test_every_pair_is_consistent_with_its_candidates(sets: Sets, wanted: dict[str, Any]) -> None:
    staged = pair(frame(rows_of(sets)), **wanted).filter(pl.col("problem").is_null())
    assert staged.get_column("pair_id").null_count() == 0
    for row in staged.iter_rows(named=True):
        assert row["chosen"] != row["rejected"]
        assert row["pair_id"] != row["flipped_id"]
        extra = json.loads(row["extra"])
        for side in ("chosen", "rejected"):
            answered = sets[row["source_row"]][int(extra[f"{side}_candidate_id"].removeprefix("c"))]
            assert plain(row[side]) == said(answered["text"])
            assert row[f"{side}_model"] == answered["model"]
            if wanted["strategy"] != "delta":
                assert row[f"{side}_score"] == answered["score"]
        if wanted["strategy"] != "delta":
            lead = row["chosen_score"] - row["rejected_score"]
            assert lead > 0
            assert lead >= wanted["min_margin"] - TOLERANCE
            assert wanted["min_chosen_score"] is None or row["chosen_score"] >= wanted["min_chosen_score"]


@pytest.mark.slow
@MANY
@given(SETS, WANTED.filter(lambda wanted: wanted["strategy"] in PICKING))
def test_the_best_possible_answer_is_chosen(sets: Sets, wanted: dict[str, Any]) -> None:
    rows = rows_of(sets)
    staged = pair(frame(rows), **wanted | {"length_matched": False})
    for row in staged.filter(pl.col("problem").is_null()).iter_rows(named=True):
        answers = [a for a in rows if a["source_row"] == row["source_row"]]
        can = possible(answers, wanted["strategy"], wanted["min_margin"], wanted["min_chosen_score"])
        best = max(can, key=lambda both: both[0]["score"])[0]  # of equal scores the first
        ids = json.loads(row["extra"])
        assert ids["chosen_candidate_id"] == best["candidate_id"]
        beaten = [b for a, b in can if a is best]
        assert ids["rejected_candidate_id"] in {b["candidate_id"] for b in beaten}
        if wanted["strategy"] in ("max_min", "best_of_on_policy"):
            assert ids["rejected_candidate_id"] == min(beaten, key=lambda b: b["score"])["candidate_id"]


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(SETS, WANTED, st.randoms(use_true_random=False))
def test_pairs_of_a_set_do_not_depend_on_the_other_rows(sets: Sets, wanted: dict[str, Any], random: Any) -> None:
    rows = rows_of(sets)
    together = pair(frame(rows), **wanted)
    places = [row["source_row"] for row in rows]
    random.shuffle(places)
    of_set = {number: iter([r for r in rows if r["source_row"] == number]) for number in range(len(sets))}
    mixed = pair(frame([next(of_set[number]) for number in places]), **wanted)
    for number in range(len(sets)):
        expected = together.filter(source_row=number)
        assert mixed.filter(source_row=number).equals(expected)
        assert pair(frame([row for row in rows if row["source_row"] == number]), **wanted).equals(expected)


# Answers that were cut off, filtered, or end in a tool call


def ended(text: str, score: float | None, reason: str | None, model: str = "m") -> Answer:
    return {"text": text, "score": score, "model": model, "finish_reason": reason}


@pytest.mark.parametrize(
    "reason", ["length", "content_filter", "tool_calls", "error", "abort", "MAX_TOKENS", "model_length", "?"]
)
@pytest.mark.parametrize("strategy", SCORED)
def test_an_answer_that_is_not_complete_is_in_no_pair(strategy: str, reason: str) -> None:
    answers = [ended("best", 5, reason), ended("good", 3, "stop"), ended("mid", 2, None), ended("worst", 0, reason)]
    assert paired(*answers, strategy=strategy, max_pairs=1) == ["good > mid"]


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos_token", "end_turn", "complete", None])
def test_finish_reasons_of_complete_answers(reason: str | None) -> None:
    assert paired(ended("good", 3, reason), ended("bad", 1, reason)) == ["good > bad"]


def test_an_answer_that_is_not_complete_is_rejected_where_the_recipe_allows_it() -> None:
    answers = [ended("good", 5, "stop"), ended("mid", 3, "stop"), ended("cut", 1, "length")]
    assert [paired(*answers, cut_off=how) for how in ("drop", "rejected")] == [["good > mid"], ["good > cut"]]
    two = [ended("bad", 1, "stop"), ended("cut", 5, "length")]
    assert paired(*two, cut_off="rejected") == ["below_margin: best 1.0, worst 1.0, lead -4.0, min_margin 0.0"]


def test_sets_without_two_complete_answers_are_named() -> None:
    answers = [ended("a", 5, "length"), ended("b", 3, "content_filter"), ended("c", 1, "stop")]
    assert paired(*answers) == ["cut_off: complete 1 of 3 different; others: content_filter, length"]
    assert paired(*answers[:2], cut_off="rejected") == [
        "cut_off: complete 0 of 2 different; others: content_filter, length"
    ]


def test_delta_skips_answers_that_are_not_complete() -> None:
    answers = [
        ended("cut", None, "length", "large"), ended("whole", None, "stop", "large"),
        ended("short", None, "length", "small"), ended("plain", None, "stop", "small"),
    ]  # fmt: skip
    delta: dict[str, Any] = {"strategy": "delta", "order": ["large", "small"]}
    assert paired(*answers, **delta) == ["whole > plain"]
    assert paired(*answers, **delta, cut_off="rejected") == ["whole > plain"]
    assert paired(*answers[1:3], **delta, cut_off="rejected") == ["whole > short"]
    assert paired(answers[0], *answers[3:], ended("more", None, "stop", "small"), **delta) == [
        "missing_model: answered: small"
    ]


# Answers that the model to be trained would hardly give


def likely(text: str, score: float, logp: float | None, **settings: Any) -> Answer:
    return {"text": text, "score": score, "logp_per_token": logp, **settings}


@pytest.mark.parametrize("strategy", SCORED)
def test_an_answer_that_is_too_unlikely_is_in_no_pair(strategy: str) -> None:
    answers = [likely("best", 5, -3.1), likely("good", 3, -3.0), likely("mid", 2, -0.5), likely("worst", 0, None)]
    assert paired(*answers, strategy=strategy, max_pairs=1, min_logp_per_token=-3) == ["good > mid"]
    assert paired(*answers, strategy=strategy, max_pairs=1) != ["good > mid"]


def test_sets_without_two_likely_answers_are_named() -> None:
    answers = [likely("a", 5, -3.1), likely("b", 3, None), likely("c", 1, -1.0)]
    assert paired(*answers, min_logp_per_token=-3) == ["off_policy: likely enough 1 of 3"]
    cut = likely("d", 4, -1.0, finish_reason="length")
    assert paired(cut, answers[2], answers[0], min_logp_per_token=-3) == ["off_policy: likely enough 1 of 3"]
    assert paired(cut, answers[2], min_logp_per_token=-3, cut_off="rejected") == [
        "below_margin: best 1.0, worst 1.0, lead -3.0, min_margin 0.0"
    ]
    assert STAGES["off_policy"] == "pair"


def test_delta_skips_answers_that_are_too_unlikely() -> None:
    answers = [
        likely("strong", 0, -5.0, model="s"), likely("second", 0, -1.0, model="s"), likely("weak", 0, -1.0, model="w"),
    ]  # fmt: skip
    assert paired(*answers, strategy="delta", order=["s", "w"], min_logp_per_token=-2) == ["second > weak"]
