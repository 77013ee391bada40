"""Bounds of a recipe in words, and the value of a row beside them."""

from typing import Any

import pytest

from curate.recipe.load import make_recipe
from curate.report.bounds import Bounds, compared, number

RULES = {
    "min_strength": {"value": 0.9, "on_null": "drop"},
    "max_chars_ratio": 4,
    "only_chosen_language": ["en", "pt"],
    "no_chosen_urls": True,
    "where": ["prompt_words > 5 AND chosen_model <> 'x'"],
}
BOUNDS = Bounds(
    make_recipe(
        {
            "source": {"paths": "p.jsonl"},
            "rules": RULES,
            "dedup": {"near": {"threshold": 0.7}, "responses": 0.6, "max_pairs_per_prompt": 2},
            "decontaminate": {"against": "gsm8k", "threshold": 0.4},
            "select": {"like": {"texts": "tea", "threshold": 0.4}, "unlike": {"texts": "milk", "top": 9}},
        }
    )
)


@pytest.mark.parametrize(
    ("reason", "bound"),
    [
        ("min_strength", "strength < 0.9 or not measured"),
        ("max_chars_ratio", "chars_ratio > 4"),
        ("only_chosen_language", "chosen_language not in en, pt"),
        ("no_chosen_urls", "chosen_urls > 0"),
        ("no_chosen_empty", "chosen_empty"),
        ("max_chosen_chars", "chosen_chars > 50,000"),
        ("where_1", "not: prompt_words > 5 AND chosen_model <> 'x'"),
        ("near_duplicate", "similarity of prompt ≥ 0.7"),
        ("duplicate_responses", "similarity of responses ≥ 0.6"),
        ("max_pairs_per_prompt", "pairs of the prompt > 2"),
        ("eval_item", "overlap > 0.4"),
        ("like", "relevance < 0.4"),
        ("unlike", "relevance, among all pairs"),
        ("duplicate_pair", ""),
    ],
)
def test_what_drops_a_row(reason: str, bound: str) -> None:
    assert BOUNDS.bound(reason) == bound


@pytest.mark.parametrize(
    ("reason", "row", "decided"),
    [
        ("min_strength (0.42)", {"strength": 0.42}, "strength 0.42 < 0.9"),
        ("min_strength (not measured)", {"strength": None}, "strength not measured"),
        ("max_chars_ratio (11.9583)", {"chars_ratio": 11.958333}, "chars_ratio 11.96 > 4"),
        ("only_chosen_language (es)", {"chosen_language": "es"}, "chosen_language es, not in en, pt"),
        ("no_chosen_urls", {"chosen_urls": 1200}, "chosen_urls 1,200 > 0"),
        ("no_chosen_empty", {"chosen_empty": True}, "chosen_empty: yes"),
        (
            "where_1 (prompt_words > 5 AND chosen_model <> 'x')",
            {"prompt_words": 3, "chosen_model": "y"},
            "not: prompt_words > 5 AND chosen_model <> 'x' (prompt_words 3, chosen_model y)",
        ),
        ("near_duplicate", {"value": 0.8181}, "similarity of prompt 0.8181 ≥ 0.7"),
        ("near_duplicate", {"value": 0.65}, "similarity of prompt 0.65 < 0.7, but other rows link the two"),
        ("max_pairs_per_prompt", {"value": 3.0}, "pairs of the prompt 3 > 2"),
        ("eval_item", {"value": 0.8}, "overlap 0.8 > 0.4"),
        ("like", {"value": 0.25}, "relevance 0.25"),
        ("rip_length", {"value": 80.0}, "rejected_chars 80"),
        ("tie: best 0.5, worst 0.5", {"value": None}, "best 0.5, worst 0.5"),
        ("duplicate_pair", {"value": None}, ""),
    ],
)
def test_what_decided_about_a_row(reason: str, row: dict[str, Any], decided: str) -> None:
    name = reason.split(" ", maxsplit=1)[0].rstrip(":")
    assert BOUNDS.decided(reason, {"rule": name, **row}) == decided


def test_a_value_differs_from_its_bound_in_the_digits_shown() -> None:
    assert compared("margin", 0.1000004, ">", 0.1) == "margin 0.1000004 > 0.1"
    assert compared("margin", 0.25, "≥", 0.25) == "margin 0.25 ≥ 0.25"
    assert [number(value) for value in (None, 1e6, 0.123456, float("inf"), float("nan"), 1e300)] == [
        "–", "1,000,000", "0.1235", "inf", "nan", "1e+300",
    ]  # fmt: skip
