"""Agreement: published examples, and sets small enough to count by hand."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.schema import CANDIDATES
from pipelines.judges.agreement import HUMAN, cohen_kappa, fleiss_kappa, judge_reports, panel_agreement
from pipelines.judges.base import VERDICTS

Row = dict[str, Any]
HALF = pytest.approx(1 / 2)


def two_raters(both_yes: int, yes_no: int, no_yes: int, both_no: int) -> tuple[list[str], list[str]]:
    pairs = [("y", "y")] * both_yes + [("y", "n")] * yes_no + [("n", "y")] * no_yes + [("n", "n")] * both_no
    first, second = zip(*pairs, strict=True)
    return list(first), list(second)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [  # en.wikipedia.org/wiki/Cohen's_kappa
        ((20, 5, 10, 15), 0.4),
        ((45, 15, 25, 15), 0.1304),
        ((25, 35, 5, 35), 0.2593),
        ((5, 0, 0, 5), 1.0),
        ((0, 5, 5, 0), -1.0),
    ],
)
def test_cohen_kappa(counts: tuple[int, int, int, int], expected: float) -> None:
    first, second = two_raters(*counts)
    assert cohen_kappa(first, second) == pytest.approx(expected, abs=5e-5)
    assert cohen_kappa(second, first) == cohen_kappa(first, second)


def test_cohen_kappa_of_one_category_is_null() -> None:
    assert cohen_kappa(["y"] * 9, ["y"] * 9) is None
    assert cohen_kappa([], []) is None
    assert cohen_kappa([1, 1], [2, 2]) == 0.0  # these never agree by chance


def test_cohen_kappa_needs_the_same_items() -> None:
    with pytest.raises(ValueError, match="equal length"):
        cohen_kappa([1, 2], [1])


# en.wikipedia.org/wiki/Fleiss'_kappa: 10 subjects, 14 raters, 5 categories
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_fleiss_kappa() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0


def test_fleiss_kappa_of_one_category_is_null() -> None:
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    assert fleiss_kappa([]) is None


@pytest.mark.parametrize("table", [[[3, 0], [1, 1]], [[1, 0], [0, 1]], [[3, -1], [1, 1]]])
def test_fleiss_kappa_needs_equally_many_raters(table: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="same number of raters"):
        fleiss_kappa(table)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 1))))
def test_kappas_are_within_bounds(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    kappa = cohen_kappa(first, second)
    assert kappa is None or -1 <= kappa <= 1
    assert cohen_kappa(first, first) in (None, 1.0)


# ---- judges ----


def rating(answer: str, score: float | None, judge: str = "j", **more: Any) -> Row:
    about = {"method": "rubric", "rubric": "overall", "rubric_hash": "h", "source": "s", "source_row": 0}
    return about | {"judge": judge, "candidate_id": answer, "aspect": "overall", "score": score} | more


def compared(first: str, second: str, better: str | None, judge: str = "j", **more: Any) -> Row:
    """`first` is shown as A; `better` is A, B or tie."""
    score = {"A": 1.0, "B": 0.0, "tie": 0.5, None: None}[better]
    method = {"method": "pairwise", "aspect": None, "other_id": second, "shown_first": True}
    return rating(first, score, judge) | method | more


def verdicts(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(VERDICTS) | row for row in rows], schema=VERDICTS)


def candidates(*sets: dict[str, str | None]) -> pl.DataFrame:
    """Return CANDIDATES from texts by id, one set per argument."""
    rows = [
        {"candidate_id": i, "source": "s", "source_row": row}
        | {"response": None if text is None else [{"role": "assistant", "content": text}]}
        for row, texts in enumerate(sets)
        for i, text in texts.items()
    ]
    return pl.DataFrame([dict.fromkeys(CANDIDATES) | row for row in rows], schema=CANDIDATES)


def human(*pairs: tuple[int, str, str]) -> pl.DataFrame:
    rows = [("s", row, better, worse) for row, better, worse in pairs]
    return pl.DataFrame(rows, schema=HUMAN, orient="row")


ABC = candidates({"a": "one", "b": "three", "c": "seventeen"}, {"a": "12345", "b": "54321"})


def test_report_of_a_judge_that_rates() -> None:
    rows = [rating("a", 1), rating("b", 2), rating("c", 2), rating("a", 3, source_row=1), rating("b", 1, source_row=1)]
    labels = human((0, "b", "a"), (0, "a", "c"), (0, "c", "b"), (0, "c", "b"), (0, "c", "zz"), (1, "b", "b"))
    (report,) = judge_reports(ABC, verdicts(*rows), labels)
    assert report == {
        "judge": "j",
        "method": "rubric",
        "rubric": "overall",
        "rubric_hash": "h",
        "verdicts": 5,
        "null_rate": 0.0,
        "problem": None,
        "problems": 0,
        "example": None,
        "tie_rate": 1 / 4,  # b and c, of ab, ac, bc and the other ab
        "position_consistency": None,
        "first_position_rate": None,
        "length_bias": 1.0,  # b > a, c > a; in the other set both are equally long
        "human_agreement": HALF,  # b > a as people said, c > a not
        "human_pairs": 2,
        "human_kappa": 0.0,  # as often as by chance
        "human_ties": 2,  # c > b, labelled twice
        **dict.fromkeys(("style_flips", "style_pairs", "style_low", "style_high")),
    }


def test_report_of_a_judge_that_compares() -> None:
    rows = [
        *(compared("a", "b", "A"), compared("b", "a", "B")),  # a wins
        *(compared("a", "c", "A"), compared("c", "a", "A")),  # the first wins: a tie
        *(compared("b", "c", "tie"), compared("c", "b", "tie")),  # a tie
        *(compared("a", "b", "A", source_row=1), compared("b", "a", None, source_row=1)),
    ]
    labels = human((0, "a", "b"), (0, "b", "a"), (0, "a", "b"), (0, "a", "c"), (1, "a", "b"))
    (report,) = judge_reports(ABC, verdicts(*rows), labels)
    assert report["verdicts"] == 8
    assert report["null_rate"] == 1 / 8
    assert report["tie_rate"] == 2 / 3
    assert report["position_consistency"] == 2 / 3
    assert report["first_position_rate"] == 4 / 5
    assert report["length_bias"] == 0.0  # only a > b is decided, and b is longer
    assert (report["human_agreement"], report["human_pairs"], report["human_ties"]) == (2 / 3, 3, 1)


def test_without_labels_human_agreement_is_null() -> None:
    (report,) = judge_reports(ABC, verdicts(rating("a", 1)))
    assert {report[name] for name in ("human_agreement", "human_pairs", "human_kappa", "human_ties")} == {None}
    assert report["tie_rate"] is None
    assert report["length_bias"] is None
    (report,) = judge_reports(ABC, verdicts(rating("a", 1)), human())
    assert (report["human_agreement"], report["human_pairs"], report["human_ties"]) == (None, 0, 0)


def test_answers_outside_the_candidates_have_no_length() -> None:
    rows = [rating("a", 1), rating("zz", 2), rating("empty", 3)]
    (report,) = judge_reports(candidates({"a": "one", "empty": None}), verdicts(*rows))
    assert (report["tie_rate"], report["length_bias"]) == (0.0, None)


def test_length_is_counted_in_characters() -> None:
    rows = [rating("a", 2), rating("b", 1)]
    (report,) = judge_reports(candidates({"a": "ééé", "b": "xxxx"}), verdicts(*rows))
    assert report["length_bias"] == 0.0


def test_aspects_are_one_judge_and_methods_are_two() -> None:
    rows = [
        rating("a", 4, rubric="help", rubric_hash="1", aspect="help"),
        rating("a", None, rubric="honesty", rubric_hash="2", aspect="honesty"),
        rating("a", 0.3, method="reward", rubric=None, rubric_hash=None, aspect=None),
        rating("a", 4, judge="i"),
    ]
    found = judge_reports(ABC, verdicts(*rows))
    names = ("judge", "method", "rubric", "rubric_hash", "verdicts", "null_rate")
    assert [tuple(report[name] for name in names) for report in found] == [
        ("i", "rubric", "overall", "h", 1, 0.0),
        ("j", "reward", None, None, 1, 0.0),
        ("j", "rubric", "help, honesty", "1, 2", 2, 0.5),
        ("panel", "panel", None, None, 1, 1.0),  # ranks need two answers
    ]


def test_no_verdicts_give_no_reports() -> None:
    assert judge_reports(ABC, verdicts()) == []
    assert panel_agreement(verdicts()) == {
        "judges": [], "items": 0, "agreement": None, "statistic": None, "kappa": None,
    }  # fmt: skip


def test_panel_of_two() -> None:
    one = [rating("a", 1, "j"), rating("b", 2, "j"), rating("c", 2, "j"), rating("d", None, "j")]
    other = [rating("a", 1, "k"), rating("b", 5, "k"), rating("c", 4, "k"), rating("d", 1, "k")]
    # ab: b, b | ac: c, c | bc: tie, b. Agreed 2 of 3; by chance (2 · 2) / 9
    found = panel_agreement(verdicts(*one, *other))
    assert found == {
        "judges": ["j", "k"], "items": 3, "agreement": 2 / 3, "statistic": "cohen",
        "kappa": pytest.approx((6 - 4) / (9 - 4)),
    }  # fmt: skip


def test_panel_of_a_rater_and_one_that_compares() -> None:
    ratings = [rating("a", 1), rating("b", 2), rating("a", 2, source_row=1), rating("b", 1, source_row=1)]
    rows = [compared(*pair, judge="k", source_row=row) for row, pair in enumerate([("a", "b", "B"), ("a", "b", "A")])]
    rows += [compared(*pair, judge="k", source_row=row) for row, pair in enumerate([("b", "a", "A"), ("b", "a", "B")])]
    found = panel_agreement(verdicts(*ratings, *rows))
    assert (found["judges"], found["items"], found["kappa"]) == (["j", "k"], 2, 1.0)


def test_panel_of_three() -> None:
    rows = [rating("a", 1, judge) for judge in "ijk"] + [rating("b", 2, "i"), rating("b", 2, "j"), rating("b", 1, "k")]
    rows += [rating(answer, grade, judge, source_row=1) for judge in "ijk" for answer, grade in (("a", 2), ("b", 1))]
    # (b, b, tie) and (a, a, a): agreeing 1/3 and 1; by chance (3² + 2² + 1²) / 6²
    found = panel_agreement(verdicts(*rows))
    assert (found["judges"], found["items"], found["statistic"]) == (["i", "j", "k"], 2, "fleiss")
    assert found["agreement"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["kappa"] == pytest.approx((2 / 3 - 14 / 36) / (1 - 14 / 36))


def test_a_panel_without_common_items() -> None:
    rows = [
        rating("a", 1, "j"),
        rating("b", 2, "j"),
        rating("a", 1, "k", source_row=1),
        rating("b", 2, "k", source_row=1),
    ]
    assert panel_agreement(verdicts(*rows)) == {
        "judges": ["j", "k"], "items": 0, "agreement": None, "statistic": "cohen", "kappa": None,
    }  # fmt: skip
    three = panel_agreement(verdicts(*rows, rating("a", 1, "l")))
    assert (three["items"], three["statistic"], three["kappa"]) == (0, "fleiss", None)


def test_the_panel_is_one_more_judge() -> None:
    """Both judges prefer b to a; on c they differ, and their mean lies between."""
    rows = [
        rating(answer, grade, judge)
        for judge, grades in {"j": (1, 4, 3), "k": (2, 4, 5)}.items()
        for answer, grade in zip("abc", grades, strict=True)
    ]
    reports = judge_reports(ABC, verdicts(*rows), human((0, "b", "a"), (0, "a", "c"), (0, "b", "c")))
    assert [(report["judge"], report["method"], report["verdicts"]) for report in reports] == [
        ("j", "rubric", 3), ("k", "rubric", 3), ("panel", "panel", 3),
    ]  # fmt: skip
    # Means: a 1.5, b 4, c 4. The panel ties b and c; of ab and ac it decides ab as labelled.
    panel = reports[2]
    assert (panel["tie_rate"], panel["length_bias"], panel["null_rate"]) == (1 / 3, 1.0, 0.0)
    assert (panel["human_agreement"], panel["human_pairs"], panel["human_ties"]) == (1 / 2, 2, 1)
    assert len(judge_reports(ABC, verdicts(*rows[:3]))) == 1  # one judge is no panel


def test_agreement_with_labels_beyond_chance() -> None:
    """A judge that always prefers the longer answer, on labels that do so in three of four pairs."""
    rows = [rating(answer, grade, source_row=row) for row in range(2) for answer, grade in (("a", 2), ("b", 1))]
    labels = human((0, "a", "b"), (0, "a", "b"), (0, "a", "b"), (1, "b", "a"))
    (report,) = judge_reports(ABC, verdicts(*rows), labels)
    assert (report["human_agreement"], report["human_kappa"]) == (3 / 4, 0.0)
    (report,) = judge_reports(ABC, verdicts(*rows), human((0, "a", "b")))
    assert (report["human_agreement"], report["human_kappa"]) == (1.0, None)  # one category only


def test_the_most_frequent_problem_is_named_without_what_it_quotes() -> None:
    """What is quoted differs from reply to reply."""
    problems = [
        'there is no JSON object in "A"',
        'better is "C", expected "A"',
        'there is no JSON object in "B"',
        "status 500",
    ]
    rows = [rating("a", None, source_row=row, raw="x", error=error) for row, error in enumerate(problems)]
    (report,) = judge_reports(ABC, verdicts(*rows, rating("a", 1, source_row=9)))
    assert (report["problem"], report["problems"], report["example"]) == (
        "there is no JSON object", 2, 'there is no JSON object in "A"',
    )  # fmt: skip
    assert report["null_rate"] == 4 / 5


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(st.randoms(use_true_random=False))
def test_the_order_of_verdicts_does_not_matter(random: Any) -> None:
    grades = {"j": (1, 2, 2, None), "k": (3, 3, 1, 2)}
    rows = [rating(answer, grades[judge][place], judge) for judge in grades for place, answer in enumerate("abcd")]
    rows += [compared("a", "b", "A"), compared("b", "a", "B"), compared("b", "c", "A"), compared("c", "b", "A")]
    expected = judge_reports(ABC, verdicts(*rows)), panel_agreement(verdicts(*rows))
    random.shuffle(rows)
    assert (judge_reports(ABC, verdicts(*rows)), panel_agreement(verdicts(*rows))) == expected
