"""What models generated, as tables and sentences."""

from typing import Any

from curate.report.generation import GenerationSummary

JUDGE: dict[str, Any] = {
    "judge": "openai:j", "method": "rubric", "rubric": "honesty, helpfulness", "rubric_hash": "a, b", "verdicts": 1200,
    "null_rate": 0.0, "tie_rate": 0.125, "position_consistency": None, "first_position_rate": None, "length_bias": 0.6,
    "human_agreement": 0.75, "human_pairs": 1000, "human_ties": 3,
}  # fmt: skip
ANSWERS = {"model": "openai:a", "answers": 8, "failed": 0, "cut_off": 2, "on_policy": False, "mean_tokens": 20.6}
REQUESTS = {"model": "openai:a", "requests": 8, "input_tokens": 10, "output_tokens": 20, "usd": None}


def test_empty_columns_are_omitted() -> None:
    tables = GenerationSummary({"answers": [ANSWERS], "judges": [JUDGE], "requests": [REQUESTS]}).tables
    assert tables == {
        "Answers": [{"model": "openai:a", "answers": 8, "cut off": 2, "tokens, mean": 21}],
        "Judges (rubric)": [
            {
                "judge": "openai:j", "by": "honesty, helpfulness", "verdicts": 1200, "ties": "12%",
                "longer wins": "60%", "as labelled": "75%\u00a0of\u00a01,000",
            }
        ],
        "Requests": [{"model": "openai:a", "requests": 8, "tokens in": 10, "tokens out": 20}],
    }  # fmt: skip


def test_a_column_with_one_value_is_kept() -> None:
    other = JUDGE | {"judge": "heuristic", "method": "heuristic", "rubric": None, "null_rate": 0.004}
    rows = GenerationSummary({"judges": [JUDGE, other]}).tables["Judges"]
    assert [(row["method"], row["by"], row["unusable"]) for row in rows] == [
        ("rubric", "honesty, helpfulness", None), ("heuristic", None, "0.4%"),
    ]  # fmt: skip
    paid = [REQUESTS | {"usd": 0.01234}, REQUESTS | {"usd": 0.0}, REQUESTS]
    found = GenerationSummary({"requests": paid}).tables["Requests"]
    assert [row["USD, by list price"] for row in found] == ["0.0123", "0", None]


def test_only_present_columns_are_explained() -> None:
    columns = GenerationSummary({"judges": [JUDGE]}).judge_columns
    assert [name for name, _ in columns] == ["ties", "longer wins", "as labelled"]
    assert GenerationSummary({}).judge_columns == []


def test_prompts_and_the_panel_in_words() -> None:
    prompts = {
        "method": "self_instruct", "model": "openai:m", "asked": 7, "failed": 0, "bad_replies": 1, "rounds": 1,
        "unusable": 0, "other_language": 0, "duplicates": 2, "surplus": 0, "kept": 1234,
        "topics": {"billing": 1000, "sharing": 234}, "difficulties": {},
    }  # fmt: skip
    panel = {"judges": ["a", "b"], "items": 12, "statistic": "cohen", "kappa": 0.5}
    about = GenerationSummary({"prompts": prompts, "panel": panel})
    assert about.tables["Prompts"] == [
        {"method": "self_instruct", "model": "openai:m", "new prompts": 1234, "duplicates": 2, "bad replies": 1}
    ]
    topics, agreement = about.sentences
    assert topics == "Topics of the new prompts: billing 1,000, sharing 234."
    assert agreement.startswith("Agreement between the judges on 12 pairs of answers: Cohen's kappa 0.50")


def test_nothing_was_generated() -> None:
    assert not GenerationSummary({})
    nothing = GenerationSummary({})
    assert (nothing.tables, nothing.sentences, nothing.by_form) == ({}, [], False)
    assert GenerationSummary({"judges": [JUDGE | {"method": "heuristic"}]}).by_form
