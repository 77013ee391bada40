"""Rules: a name and a setting become a bound on a signal; every broken rule is recorded as a reason."""

from typing import Any

import polars as pl
import pytest

from curate.errors import RecipeError
from curate.rules import DEFAULTS, Rule, apply_rules, make_rule, make_rules, plain_rules
from curate.signals import COLUMNS

SHAPE = "A rule is no_SIGNAL, min_SIGNAL, max_SIGNAL or only_SIGNAL; `curate signals` lists the signals."


def judged(column: str, values: list[Any], **settings: Any) -> list[list[str]]:
    """Return the reasons of every row of one signal."""
    rules = make_rules(settings, defaults=False)
    return apply_rules(pl.DataFrame({column: values}), rules).get_column("reasons").to_list()


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("no_tie", True, Rule("no_tie", "tie", max=0)),
        ("no_chosen_urls", True, Rule("no_chosen_urls", "chosen_urls", max=0)),
        ("max_chars_ratio", 4, Rule("max_chars_ratio", "chars_ratio", max=4.0)),
        ("min_margin", -0.5, Rule("min_margin", "margin", min=-0.5)),
        ("min_margin", 0, Rule("min_margin", "margin", min=0.0)),
        ("min_margin", -1e15, Rule("min_margin", "margin", min=-1e15)),
        ("max_margin", 1e15, Rule("max_margin", "margin", max=1e15)),
        ("only_chosen_language", ["en", "pt"], Rule("only_chosen_language", "chosen_language", allowed=("en", "pt"))),
        ("only_chosen_language", "en", Rule("only_chosen_language", "chosen_language", allowed=("en",))),
        ("no_tie", {"on_null": "drop"}, Rule("no_tie", "tie", max=0, on_null="drop")),
        ("min_margin", {"value": 1, "on_null": "drop"}, Rule("min_margin", "margin", min=1.0, on_null="drop")),
        ("min_margin", {"value": 1}, Rule("min_margin", "margin", min=1.0)),
    ],
)
def test_make_rule(name: str, value: object, rule: Rule) -> None:
    assert make_rule(name, value) == rule


@pytest.mark.parametrize("name", ["no_tie", "min_margin", "max_chars_ratio", "only_chosen_language"])
@pytest.mark.parametrize("value", [False, None, {"value": False}, {"value": None, "on_null": "drop"}])
def test_false_and_null_switch_a_rule_off(name: str, value: object) -> None:
    assert make_rule(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_char_ratio", 4, f"unknown rule 'max_char_ratio'. Did you mean 'max_chars_ratio'? {SHAPE}"),
        ("no_ties", False, f"unknown rule 'no_ties'. Did you mean 'no_tie'? {SHAPE}"),
        ("xyz", 1, f"unknown rule 'xyz'. {SHAPE}"),
        ("no_tie", "yes", "rules.no_tie: expected true or false, found 'yes'"),
        ("no_tie", 1, "rules.no_tie: expected true or false, found 1"),
        ("max_chars_ratio", "4", "rules.max_chars_ratio: expected a number, found '4'"),
        ("max_chars_ratio", True, "rules.max_chars_ratio: expected a number, found True"),
        ("min_margin", {"on_null": "drop"}, "rules.min_margin: expected a number, found True"),
        ("min_margin", 1.1e15, "rules.min_margin: expected a number within ±1e+15, found 1100000000000000.0"),
        ("min_margin", -1.1e15, "rules.min_margin: expected a number within ±1e+15, found -1100000000000000.0"),
        ("max_margin", float("nan"), "rules.max_margin: expected a number within ±1e+15, found nan"),
        ("max_margin", float("inf"), "rules.max_margin: expected a number within ±1e+15, found inf"),
        (
            "max_chosen_language",
            3,
            "rules.max_chosen_language: chosen_language is text; use only_chosen_language: [en, …]",
        ),
        (
            "no_chosen_language",
            True,
            "rules.no_chosen_language: chosen_language is text; use only_chosen_language: [en, …]",
        ),
        (
            "only_chars_ratio",
            ["en"],
            "rules.only_chars_ratio: `only` takes a list of values, "
            "for prompt_language, chosen_language, rejected_language, label_verdict",
        ),
        (
            "only_chosen_language",
            [],
            "rules.only_chosen_language: `only` takes a list of values, "
            "for prompt_language, chosen_language, rejected_language, label_verdict",
        ),
        (
            "only_chosen_language",
            3,
            "rules.only_chosen_language: `only` takes a list of values, "
            "for prompt_language, chosen_language, rejected_language, label_verdict",
        ),
        (
            "min_margin",
            {"value": 1, "when_null": "drop"},
            "rules.min_margin: expected {value: …, on_null: keep or drop, reason: …}, found "
            "{'value': 1, 'when_null': 'drop'}",
        ),
        (
            "min_margin",
            {"value": 1, "on_null": "maybe"},
            "rules.min_margin: expected {value: …, on_null: keep or drop, reason: …}, found "
            "{'value': 1, 'on_null': 'maybe'}",
        ),
    ],
)
def test_a_wrong_rule_reports_what_was_found_and_what_to_do(name: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_rule(name, value)
    assert str(caught.value) == message


def test_make_rules_changes_defaults_in_place_and_adds_the_rest() -> None:
    rules = make_rules({"max_chosen_chars": 10, "no_tie": False, "min_margin": 1})
    names = [rule.name for rule in rules]
    assert names == [name for name in DEFAULTS if name != "no_tie"] + ["min_margin"]
    assert rules[names.index("max_chosen_chars")].max == 10.0


def test_every_default_is_a_rule_with_a_reason() -> None:
    assert [rule.name for rule in make_rules({})] == list(DEFAULTS)
    assert all(why for _, why in DEFAULTS.values())


def test_make_rules_without_defaults() -> None:
    assert make_rules({"no_tie": True}, defaults=False) == [Rule("no_tie", "tie", max=0)]
    assert make_rules({}, defaults=False) == []


def test_no_drops_true_and_counts_above_zero() -> None:
    assert judged("tie", [True, False, None], no_tie=True) == [["no_tie"], [], []]
    assert judged("chosen_urls", [2, 0, None], no_chosen_urls=True) == [["no_chosen_urls"], [], []]


def test_min_keeps_its_bound() -> None:
    assert judged("margin", [0.9, 1.0, 1.1, None], min_margin=1) == [["min_margin (0.9)"], [], [], []]


def test_max_keeps_its_bound() -> None:
    assert judged("chars_ratio", [4.1, 4.0, None], max_chars_ratio=4) == [["max_chars_ratio (4.1)"], [], []]


def test_a_bound_without_an_exact_32_bit_value_is_kept_as_well() -> None:
    shares = pl.DataFrame({"chosen_digit_share": [0.1, 0.7, 0.4]}, schema={"chosen_digit_share": pl.Float32})
    rules = make_rules({"min_chosen_digit_share": 0.7, "max_chosen_digit_share": 0.1}, defaults=False)
    assert apply_rules(shares, rules).get_column("reasons").to_list() == [
        ["min_chosen_digit_share (0.1)"],
        ["max_chosen_digit_share (0.7)"],
        ["min_chosen_digit_share (0.4)", "max_chosen_digit_share (0.4)"],
    ]


def test_only_keeps_the_listed_values() -> None:
    languages = ["en", "pt", "fr", None]
    reasons = judged("chosen_language", languages, only_chosen_language=["en", "pt"])
    assert reasons == [[], [], ["only_chosen_language (fr)"], []]


@pytest.mark.parametrize(
    ("column", "value", "name", "setting", "reason"),
    [
        ("tie", False, "no_tie", True, "no_tie"),
        ("margin", 1.0, "min_margin", 0, "min_margin (not measured)"),
        ("chars_ratio", 1.0, "max_chars_ratio", 4, "max_chars_ratio (not measured)"),
        ("chosen_language", "en", "only_chosen_language", ["en"], "only_chosen_language (not measured)"),
    ],
)
def test_on_null(column: str, value: object, name: str, setting: object, reason: str) -> None:
    rows = [value, None]
    assert judged(column, rows, **{name: {"value": setting, "on_null": "drop"}}) == [[], [reason]]
    assert judged(column, rows, **{name: {"value": setting, "on_null": "keep"}}) == [[], []]


def test_all_reasons_are_in_rule_order_with_the_value_of_the_first() -> None:
    signals = pl.DataFrame(
        {
            "tie": [True, False, True, None],
            "chars_ratio": [9.0, 23.45678, 1.0, None],
            "chosen_language": ["fr", "fr", "en", None],
        }
    )
    rules = make_rules({"max_chars_ratio": 4, "no_tie": True, "only_chosen_language": ["en"]}, defaults=False)
    assert apply_rules(signals, rules).rows() == [
        (["max_chars_ratio (9.0)", "no_tie", "only_chosen_language (fr)"], "max_chars_ratio", 9.0),
        (["max_chars_ratio (23.4568)", "only_chosen_language (fr)"], "max_chars_ratio", 23.45678),
        (["no_tie"], "no_tie", 1.0),
        ([], None, None),
    ]


def test_text_and_unmeasured_signals_have_no_value() -> None:
    signals = pl.DataFrame({"chosen_language": ["fr", "en"], "margin": [1.0, None]})
    settings = {"only_chosen_language": ["en"], "min_margin": {"value": 0, "on_null": "drop"}}
    assert apply_rules(signals, make_rules(settings, defaults=False)).select("rule", "value").rows() == [
        ("only_chosen_language", None),
        ("min_margin", None),
    ]


def test_without_rules_every_row_passes() -> None:
    assert apply_rules(pl.DataFrame({"tie": [True, None]}), []).rows() == [([], None, None), ([], None, None)]


@pytest.mark.parametrize("rules", [[], make_rules({})])
def test_no_rows(rules: list[Rule]) -> None:
    verdicts = apply_rules(pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.Float32)), rules)
    assert verdicts.shape == (0, 3)
    assert verdicts.schema == {"reasons": pl.List(pl.String), "rule": pl.String, "value": pl.Float64}


@pytest.mark.parametrize(
    ("column", "most", "more"),
    [
        ("response_turns", 1, 2),
        ("chosen_chars", 50_000, 50_001),
        ("rejected_chars", 50_000, 50_001),
        ("prompt_chars", 100_000, 100_001),
        ("chosen_top_4gram_share", 0.5, 0.501),
        ("chosen_dup_10gram_share", 0.7, 0.701),
        ("chosen_dup_line_share", 0.7, 0.701),
    ],
)
def test_bounds_of_the_defaults(column: str, most: float, more: float) -> None:
    rules = [rule for rule in make_rules({}) if rule.column == column]
    found = apply_rules(pl.DataFrame({column: [most, more]}), rules).get_column("reasons").to_list()
    assert [[reason.partition(" ")[0] for reason in reasons] for reasons in found] == [[], [f"max_{column}"]]


def test_a_reason_of_the_user_stands_in_the_recipe() -> None:
    bound = {"value": 0.5, "on_null": "drop", "reason": "too close to call"}
    rules = make_rules({"min_margin": bound, "no_chosen_refusal": {"reason": "declines"}}, defaults=False)
    assert [(rule.name, rule.about) for rule in rules] == [
        ("min_margin", "too close to call"),
        ("no_chosen_refusal", "declines"),
    ]
    plain = plain_rules(rules)
    assert plain == {"min_margin": bound, "no_chosen_refusal": {"value": True, "reason": "declines"}}
    assert make_rules(plain, defaults=False) == rules
