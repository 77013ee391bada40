"""Scores from verdicts. Answers are named by letters; all are of one set unless `source_row` says otherwise."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.schema import CANDIDATES
from pipelines.judges.base import VERDICTS
from pipelines.judges.scoring import combine, comparisons, judge_scores

Row = dict[str, Any]


def rating(answer: str, score: float | None, aspect: str | None = "overall", judge: str = "j", **more: Any) -> Row:
    method = {"method": "rubric", "source": "s", "source_row": 0}
    return method | {"judge": judge, "candidate_id": answer, "aspect": aspect, "score": score} | more


def compared(first: str, second: str, better: str | None, judge: str = "j", **more: Any) -> Row:
    """`first` is shown as A; `better` is A, B or tie."""
    score = {"A": 1.0, "B": 0.0, "tie": 0.5, None: None}[better]
    return rating(first, score, None, judge, method="pairwise", other_id=second, shown_first=True, **more)


def reward(answer: str, score: float | None, judge: str = "r", **more: Any) -> Row:
    return rating(answer, score, None, judge, method="reward", **more)


def verdicts(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(VERDICTS) | row for row in rows], schema=VERDICTS)


def candidates(*sets: str) -> pl.DataFrame:
    """Return CANDIDATES with one set per text and one answer per letter."""
    rows = [{"source": "s", "source_row": row, "candidate_id": i} for row, ids in enumerate(sets) for i in ids]
    return pl.DataFrame([dict.fromkeys(CANDIDATES) | row for row in rows], schema=CANDIDATES)


def scores(answers: str, *rows: Row) -> list[float | None]:
    found = combine(candidates(answers), verdicts(*rows))
    assert found.schema == CANDIDATES
    assert found.get_column("candidate_id").to_list() == list(answers)
    return found.get_column("score").to_list()


# ---- one judge that rates ----


def test_a_grade_is_the_score() -> None:
    assert scores("ba", rating("a", 4), rating("b", 2)) == [2.0, 4.0]


def test_the_score_of_a_single_judge_is_not_rounded() -> None:
    assert scores("a", reward("a", 0.12345678912345)) == [0.12345678912345]


def test_the_score_is_the_mean_over_aspects() -> None:
    rows = [rating("a", 5, "honesty", reason="Plain."), rating("a", 2, "help", reason=" "), rating("b", 1, "help")]
    found = combine(candidates("ab"), verdicts(*rows)).select("score", "scores", "reason", "judge").rows()
    by_aspect = [{"aspect": "help", "score": 2.0}, {"aspect": "honesty", "score": 5.0}]
    assert found == [(3.5, by_aspect, "Plain.", "j"), (None, None, None, None)]


def test_the_reason_is_that_of_the_first_aspect() -> None:
    rows = [rating("a", 3, aspect, reason=f"On {aspect}.") for aspect in "hjbdfaigec"]
    overall = rating("a", 3, None, reason="As a whole.")
    assert combine(candidates("a"), verdicts(*rows)).get_column("reason").to_list() == ["On a."]
    assert combine(candidates("a"), verdicts(overall, *rows)).get_column("reason").to_list() == ["On a."]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), float("-inf")])
def test_an_aspect_without_a_grade_leaves_no_score(bad: float | None) -> None:
    rows = [rating("a", 5, "x"), rating("a", bad, "y"), rating("b", 1, "x"), rating("b", 1, "y")]
    assert scores("ab", *rows) == [None, 1.0]
    assert scores("ab", reward("a", bad), reward("b", -0.25)) == [None, -0.25]


def test_a_failed_reply_without_an_aspect_leaves_no_score() -> None:
    rows = [rating("a", None, None, raw="I cannot", error="no JSON"), rating("b", 3, "x"), rating("b", 3, "y")]
    assert scores("ab", *rows) == [None, 3.0]


def test_the_same_asked_twice_is_averaged_within_its_aspect() -> None:
    assert scores("a", rating("a", 1, "x"), rating("a", 3, "x"), rating("a", 5, "y")) == [3.5]
    assert scores("a", rating("a", 1, "x"), rating("a", None, "x"), rating("a", 5, "y")) == [None]
    twice = verdicts(rating("a", 1, reason="No."), rating("a", 3, reason="Maybe."), rating("a", 2))
    assert combine(candidates("a"), twice).get_column("reason").to_list() == ["Maybe."]  # the first by alphabet


def test_unjudged_answers_are_null_and_old_scores_are_dropped() -> None:
    old = candidates("ab").with_columns(score=pl.lit(9.0), judge=pl.lit("old"), reason=pl.lit("old"))
    found = combine(old, verdicts(rating("a", 4))).select("score", "reason", "judge")
    assert found.rows() == [(4.0, None, "j"), (None, None, None)]
    assert combine(old, verdicts()).get_column("score").to_list() == [None, None]


def test_equal_ids_in_two_rows_of_the_source_are_two_answers() -> None:
    found = combine(candidates("a", "a"), verdicts(rating("a", 4), rating("a", 2, source_row=1)))
    assert found.get_column("score").to_list() == [4.0, 2.0]


def test_answers_without_a_source_are_found_by_their_ids() -> None:
    answers = candidates("ab").with_columns(source=pl.lit(None, pl.String), source_row=pl.lit(None, pl.UInt64))
    nowhere: Row = {"source": None, "source_row": None}
    found = combine(answers, verdicts(rating("a", 4, **nowhere), rating("b", 2, **nowhere))).select("score", "scores")
    assert found.rows() == [(4.0, [{"aspect": "overall", "score": 4.0}]), (2.0, [{"aspect": "overall", "score": 2.0}])]


def test_verdicts_on_other_answers_change_nothing() -> None:
    assert scores("a", rating("a", 4), rating("zz", 2), rating("a", 1, source="t")) == [4.0]


def test_no_candidates() -> None:
    assert combine(candidates(), verdicts(rating("a", 4))).rows() == []


def test_wrong_columns_are_named() -> None:
    with pytest.raises(InputError, match="verdicts does not have the expected columns: judge is"):
        combine(candidates("a"), verdicts().drop("judge"))


# ---- one judge that compares ----


@pytest.mark.parametrize(
    ("a_first", "b_first", "expected"),
    [
        ("A", "B", [1.0, 0.0]),
        ("B", "A", [0.0, 1.0]),
        ("A", "A", [0.5, 0.5]),  # whatever comes first wins
        ("tie", "tie", [0.5, 0.5]),
        ("A", "tie", [0.5, 0.5]),
        ("tie", "A", [0.5, 0.5]),
        ("A", None, [None, None]),
        (None, None, [None, None]),
    ],
)
def test_a_win_needs_both_orders(a_first: str, b_first: str, expected: list[float | None]) -> None:
    assert scores("ab", compared("a", "b", a_first), compared("b", "a", b_first)) == expected


def test_a_missing_order_does_not_count() -> None:
    assert scores("ab", compared("a", "b", "A")) == [None, None]
    assert scores("ab", compared("a", "b", "A"), compared("a", "b", "A")) == [None, None]


def test_both_orders_may_be_written_from_one_side() -> None:
    second = compared("b", "a", "B") | {"candidate_id": "a", "other_id": "b", "shown_first": False, "score": 1.0}
    assert scores("ab", compared("a", "b", "A"), second) == [1.0, 0.0]


def test_the_score_is_the_mean_over_comparisons_that_count() -> None:
    rows = [
        *(compared("a", "b", "A"), compared("b", "a", "B")),
        *(compared("a", "c", "A"), compared("c", "a", "A")),
        *(compared("b", "c", "A"), compared("c", "b", None)),
    ]
    assert scores("abcd", *rows) == [0.75, 0.0, 0.5, None]


def test_reasons_of_a_comparison_name_the_position() -> None:
    rows = [
        *(compared("a", "b", "A", reason="Later."), compared("b", "a", None, reason="Never.")),
        *(compared("a", "c", "A", reason="A is right."), compared("c", "a", "B", reason="B is right.")),
    ]
    found = combine(candidates("abc"), verdicts(*rows)).get_column("reason").to_list()
    assert found == ["as A: A is right.\nas B: B is right.", None, "as A: B is right.\nas B: A is right."]


def test_reasons_of_the_same_order_asked_twice_are_sorted() -> None:
    rows = [compared("a", "b", "A", reason=reason) for reason in ("Yes.", None, "Sure.", "Yes.")]
    found = comparisons(verdicts(*rows, compared("b", "a", "B", reason="Again.")))
    assert found.filter(candidate_id="a").get_column("reason").to_list() == ["as A: Sure.\nas A: Yes.\nas B: Again."]


def test_the_reason_of_a_comparison_in_an_unknown_order_is_last() -> None:
    unknown = compared("a", "b", "A", reason="Odd.") | {"shown_first": None}
    rows = [unknown, compared("a", "b", "A", reason="Yes."), compared("b", "a", "B", reason="Again.")]
    found = comparisons(verdicts(*rows)).filter(candidate_id="a")
    assert found.get_column("reason").to_list() == ["as A: Yes.\nas B: Again.\nas B: Odd."]


def test_the_reason_is_that_of_the_first_comparison_by_the_other_answers_id() -> None:
    others = "pobncmdlekfjgih"
    rows = [row for other in others for row in (compared("a", other, "A", reason=other), compared(other, "a", "B"))]
    found = combine(candidates("a" + others), verdicts(*rows)).get_column("reason").to_list()
    assert found[0] == "as A: b"


def test_comparisons_are_seen_from_both_answers() -> None:
    found = comparisons(verdicts(compared("a", "b", "A"), compared("b", "a", "A"), compared("a", "a", "A")))
    seen = found.select("candidate_id", "other_id", "result", "agree").sort("candidate_id").rows()
    assert seen == [("a", "b", 0.5, False), ("b", "a", 0.5, False)]


# ---- a panel ----


def test_panel_of_rubric_judges_is_the_mean() -> None:
    rows = [rating("a", 4, judge="k", reason="Good."), rating("a", 1, judge="j"), rating("b", 2, judge="k")]
    rows.append(rating("b", 2, judge="j", reason="Poor."))
    found = combine(candidates("ab"), verdicts(*rows)).select("score", "scores", "reason", "judge").rows()
    assert found == [
        (2.5, [{"aspect": "overall", "score": 2.5}], "Good.", "j, k"),
        (2.0, [{"aspect": "overall", "score": 2.0}], "Poor.", "j, k"),
    ]


def test_the_mean_of_a_panel_has_nine_digits() -> None:
    assert scores("a", *(rating("a", 0.12345678949, judge=judge) for judge in "jk")) == [0.123456789]


def test_the_reason_of_a_panel_is_that_of_its_first_judge() -> None:
    rows = [rating("a", 4, judge="k", reason="Good."), rating("a", 1, judge="j", reason="Poor.")]
    assert combine(candidates("a"), verdicts(*rows)).get_column("reason").to_list() == ["Poor."]


def test_panel_of_judges_that_compare_is_the_mean() -> None:
    rows = [compared("a", "b", "A", "j"), compared("b", "a", "B", "j"), compared("a", "b", "A", "k")]
    assert scores("ab", *rows, compared("b", "a", "A", "k")) == [0.75, 0.25]


def test_a_strict_judge_that_fails_on_one_answer_does_not_lift_it() -> None:
    strict = [rating("a", None, judge="strict"), rating("b", 1, judge="strict")]
    mild = [rating("a", 4, judge="mild"), rating("b", 5, judge="mild")]
    found = combine(candidates("ab"), verdicts(*strict, *mild)).select("score", "judge").rows()
    assert found == [(4.0, "mild"), (5.0, "mild")]


def test_where_every_judge_fails_once_only_answers_scored_by_all_count() -> None:
    rows = [rating(i, grade, judge="j") for i, grade in zip("abcd", (None, 2, 3, 4), strict=True)]
    rows += [rating(i, grade, judge="k") for i, grade in zip("abcd", (1, None, 5, 5), strict=True)]
    assert scores("abcd", *rows) == [None, None, 4.0, 4.5]


def test_mixed_methods_are_averaged_as_ranks() -> None:
    rewards = [reward(i, value) for i, value in zip("abc", (-7.5, 0.1, 30.0), strict=True)]
    grades = [rating(i, grade) for i, grade in zip("abc", (5, 1, 5), strict=True)]
    # by reward 0, 1/2, 1; by grade 3/4 (one below, one equal), 0, 3/4
    assert scores("abc", *rewards, *grades) == [0.375, 0.25, 0.875]


def test_two_reward_models_do_not_share_a_scale() -> None:
    rows = [reward("a", 100, "r"), reward("b", 90, "r"), reward("a", 0.1, "q"), reward("b", 0.2, "q")]
    assert scores("ab", *rows) == [0.5, 0.5]
    assert scores("ab", *rows[:2]) == [100.0, 90.0]
    assert combine(candidates("ab"), verdicts(*rows[:2])).get_column("scores").to_list() == [None, None]


def test_a_single_answer_has_no_rank() -> None:
    assert scores("ab", reward("a", 3), rating("a", 3), rating("b", None), reward("b", None)) == [None, None]


def test_equal_means_are_equal() -> None:
    """0.1 + 0.2 + 0.3 depends on the order in floats; a margin of 1e-16 would turn a tie into a pair."""
    rows = [rating("a", grade, judge=judge) for judge, grade in zip("jkl", (0.1, 0.2, 0.3), strict=True)]
    rows += [rating("b", grade, judge=judge) for judge, grade in zip("jkl", (0.3, 0.2, 0.1), strict=True)]
    one, other = scores("ab", *rows)
    assert one == other == 0.2


def test_judge_scores_are_null_where_the_judge_gave_none() -> None:
    rows = verdicts(rating("a", 4), rating("b", None), compared("a", "b", "A", "k"))
    found = judge_scores(rows).select("judge", "candidate_id", "score").sort("judge", "candidate_id").rows()
    assert found == [("j", "a", 4.0), ("j", "b", None), ("k", "a", None), ("k", "b", None)]


# ---- any verdicts ----

ANY = st.fixed_dictionaries(
    {
        "judge": st.sampled_from("jkl"),
        "method": st.sampled_from(["rubric", "pairwise", "reward"]),
        "source": st.just("s"),
        "source_row": st.integers(0, 1),
        "candidate_id": st.sampled_from("abc"),
        "other_id": st.sampled_from([None, "a", "b", "c"]),
        "shown_first": st.sampled_from([None, True, False]),
        "aspect": st.sampled_from([None, "x", "y"]),
        "score": st.sampled_from([None, 0.0, 0.5, 1.0, 2.0, 3.3, float("nan"), float("inf")]),
        "reason": st.sampled_from([None, " ", "One.", "Two."]),
    }
)
# Real ones: both orders of every comparison, both aspects of every rating.
GRADE = st.sampled_from([None, 1.0, 2.0, 3.3, 4.0])
REAL = st.one_of(
    st.builds(
        lambda answer, judge, row, x, y: [rating(answer, s, a, judge, source_row=row) for a, s in (("x", x), ("y", y))],
        *(st.sampled_from("abc"), st.sampled_from("jk"), st.integers(0, 1), GRADE, GRADE),
    ),
    st.builds(
        lambda two, judge, row, there, back: [
            compared(two[0], two[1], there, judge, source_row=row, reason="There."),
            compared(two[1], two[0], back, judge, source_row=row, reason="Back."),
        ],
        *(st.sampled_from(["ab", "ac", "bc"]), st.sampled_from("jk"), st.integers(0, 1)),
        *[st.sampled_from(["A", "B", "tie", None])] * 2,
    ),
)
REAL_ROWS = st.lists(REAL, max_size=15).map(lambda parts: [row for part in parts for row in part])
ROWS = st.one_of(st.lists(ANY, max_size=20), REAL_ROWS)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(ROWS, st.randoms(use_true_random=False))
def test_scores_are_independent_of_order_and_never_nan(rows: list[Row], random: Any) -> None:
    answers = candidates("abc", "cba")
    found = combine(answers, verdicts(*rows))
    random.shuffle(rows)
    assert found.equals(combine(answers, verdicts(*rows)))
    assert found.select("source_row", "candidate_id").equals(answers.select("source_row", "candidate_id"))
    assert found.get_column("score").is_finite().fill_null(value=True).all()
    by_aspect = found.get_column("scores").drop_nulls().explode(empty_as_null=False, keep_nulls=False)
    assert by_aspect.is_empty() or by_aspect.struct.field("score").is_finite().all()
    judged = found.filter(pl.col("score").is_not_null())
    assert judged.get_column("judge").null_count() == 0
    unjudged = found.filter(pl.col("score").is_null())
    assert unjudged.select(pl.col("scores", "reason", "judge").is_null().all()).row(0) == (True, True, True)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(ROWS)
def test_scores_of_a_set_do_not_depend_on_other_sets(rows: list[Row]) -> None:
    """Whether scores are converted to ranks depends on the judges in all verdicts."""
    frame = verdicts(*[row | {"method": "rubric", "aspect": "x", "judge": "j"} for row in rows])
    together = combine(candidates("abc", "abc"), frame)
    alone = combine(candidates("abc", "abc"), frame.filter(pl.col("source_row") == 0))
    assert together.head(3).equals(alone.head(3))
