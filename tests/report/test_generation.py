"""What models generated, as tables and sentences."""

from typing import Any

from curate.report.generation import GenerationSummary

JUDGE: dict[str, Any] = {
    "judge": "openai:j", "method": "rubric", "rubric": "honesty, helpfulness", "rubric_hash": "a, b", "verdicts": 1200,
    "null_rate": 0.0, "tie_rate": 0.125, "position_consistency": None, "first_position_rate": None, "length_bias": 0.6,
    "human_agreement": 0.75, "human_pairs": 1000, "human_kappa": 0.5, "human_ties": 3, "problem": None, "problems": 0,
    "style_flips": None, "style_pairs": None, "style_low": None, "style_high": None,
}  # fmt: skip
ALONE: dict[str, Any] = {"judges": ["openai:j"], "items": 0, "agreement": None, "statistic": None, "kappa": None}
ANSWERS = {
    "model": "openai:a",
    "answers": 8,
    "failed": 0,
    "cut_off": 2,
    "without_text": 0,
    "on_policy": False,
    "mean_tokens": 20.6,
}
REQUESTS = {"model": "openai:a", "requests": 8, "input_tokens": 10, "output_tokens": 20, "usd": None}


def test_empty_columns_are_omitted() -> None:
    tables = GenerationSummary({"answers": [ANSWERS], "judges": [JUDGE], "panel": ALONE, "requests": [REQUESTS]}).tables
    assert tables == {
        "Answers": [{"model": "openai:a", "answers": 8, "cut off": 2, "tokens, mean": 21}],
        "Judges (rubric)": [
            {
                "judge": "openai:j", "by": "honesty, helpfulness", "verdicts": 1200, "ties": "12%",
                "longer wins": "60%", "as labelled": "75%\u00a0of\u00a01,000, κ\u00a00.50",
            }
        ],
        "Requests": [{"model": "openai:a", "requests": 8, "tokens in": 10, "tokens out": 20}],
    }  # fmt: skip


def test_a_column_with_one_value_is_kept() -> None:
    other = JUDGE | {"judge": "heuristic", "method": "heuristic", "rubric": None, "null_rate": 0.004}
    rows = GenerationSummary({"judges": [JUDGE, other], "panel": ALONE}).tables["Judges"]
    assert [(row["method"], row["by"], row["unusable"]) for row in rows] == [
        ("rubric", "honesty, helpfulness", None), ("heuristic", None, "0.4%"),
    ]  # fmt: skip
    paid = [REQUESTS | {"usd": 0.01234}, REQUESTS | {"usd": 0.0}, REQUESTS]
    found = GenerationSummary({"requests": paid}).tables["Requests"]
    assert [row["USD, by list price"] for row in found] == ["0.0123", "0", None]


def test_only_present_columns_are_explained() -> None:
    columns = GenerationSummary({"judges": [JUDGE], "panel": ALONE}).judge_columns
    assert [name for name, _ in columns] == ["ties", "longer wins", "as labelled"]
    assert GenerationSummary({}).judge_columns == []


def test_prompts_in_words() -> None:
    prompts = {
        "method": "self_instruct", "model": "openai:m", "asked": 7, "failed": 0, "bad_replies": 1, "rounds": 1,
        "unusable": 0, "other_language": 0, "duplicates": 2, "surplus": 0, "kept": 1234,
        "topics": {"billing": 1000, "sharing": 234}, "difficulties": {},
    }  # fmt: skip
    about = GenerationSummary({"prompts": prompts})
    assert about.tables["Prompts"] == [
        {"method": "self_instruct", "model": "openai:m", "new prompts": 1234, "duplicates": 2, "bad replies": 1}
    ]
    assert about.sentences == ["Topics of the new prompts: billing 1,000, sharing 234."]


def test_the_panel_is_a_row_among_its_judges() -> None:
    judges = [JUDGE, JUDGE | {"judge": "openai:k"}, JUDGE | {"judge": "panel", "method": "panel", "rubric": None}]
    panel = {"judges": ["openai:j", "openai:k"], "items": 12, "agreement": 0.75, "statistic": "cohen", "kappa": 0.4}
    about = GenerationSummary({"judges": judges, "panel": panel})
    assert [(row["judge"], row["as each other"]) for row in about.tables["Judges (rubric)"]] == [
        ("openai:j", None), ("openai:k", None), ("panel of 2", "75%\u00a0of\u00a012, κ\u00a00.40"),
    ]  # fmt: skip
    assert [name for name, _ in about.judge_columns][-1] == "as each other"


def test_style_flips_have_an_interval() -> None:
    styled = JUDGE | {"style_flips": 0.25, "style_pairs": 40, "style_low": 0.142, "style_high": 0.402}
    (row,) = GenerationSummary({"judges": [styled], "panel": ALONE}).tables["Judges (rubric)"]
    assert row["style flips"] == "25%\u00a0of\u00a040 (14%–40%)"
    undecided = styled | {"style_flips": None, "style_pairs": 0}
    (row,) = GenerationSummary({"judges": [undecided], "panel": ALONE}).tables["Judges (rubric)"]
    assert "style flips" not in row


def test_what_is_wrong_with_answers_in_words() -> None:
    wrong = ANSWERS | {"failed": 1, "without_text": 3, "problem": "filtered by the endpoint"}
    about = GenerationSummary({"answers": [wrong, ANSWERS | {"problem": None}]})
    assert about.sentences == ["4 answers of openai:a without text, mostly: filtered by the endpoint."]
    assert [row["without text"] for row in about.tables["Answers"]] == [3, None]


def test_what_is_wrong_with_verdicts_in_words() -> None:
    wrong = JUDGE | {"problem": "there is no JSON object", "problems": 3, "example": 'there is no JSON object in "Hm"'}
    about = GenerationSummary({"judges": [wrong, JUDGE], "panel": ALONE})
    assert about.sentences == ['3 verdicts of openai:j cannot be used: there is no JSON object in "Hm".']
    published = {name: value for name, value in wrong.items() if name != "example"} | {"problems": 1}
    about = GenerationSummary({"judges": [published], "panel": ALONE})
    assert about.sentences == ["1 verdict of openai:j cannot be used: there is no JSON object."]


def test_likelihood_by_model_and_topic() -> None:
    row = {"under": "openai:t", "model": "openai:a", "topic": None, "answers": 1200, "measured": 1000}
    rows = [
        row | {"mean": -1.234, "low": -2.0, "high": -0.5},
        row | {"topic": "tea", "mean": None, "low": None, "high": None},
    ]
    about = GenerationSummary({"on_policy": rows})
    assert about.tables == {
        "Log-likelihood per token under openai:t": [
            {
                "answers of": "openai:a", "topic": None, "measured": "1,000 of 1,200", "mean": "-1.23",
                "10% to 90%": "-2.00 to -0.50",
            },
            {"answers of": "openai:a", "topic": "tea", "measured": "1,000 of 1,200", "mean": None, "10% to 90%": None},
        ]
    }  # fmt: skip
    assert [sentence.partition(";")[0] for sentence in about.sentences] == ["Log-likelihoods are in nats"]
    assert GenerationSummary({"on_policy": rows[1:]}).sentences == []


def test_nothing_was_generated() -> None:
    assert not GenerationSummary({})
    nothing = GenerationSummary({})
    assert (nothing.tables, nothing.sentences, nothing.by_form) == ({}, [], False)
    assert GenerationSummary({"judges": [JUDGE | {"method": "heuristic"}]}).by_form
