"""
Rules, as data: bounds on signals, and conditions (`where`). The name of a bound states it and the signal:
`max_chosen_chars`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from curate.errors import RecipeError, nearest, shortened
from curate.rules.where import NOT_MET, Where, field_text, field_types, make_where, with_conditions
from curate.signals import COLUMNS, Signal

__all__ = [
    "DEFAULTS", "NOT_MET", "Rule", "Where", "apply_rules", "field_text", "field_types", "known_columns",
    "make_conditions", "make_rule", "make_rules", "make_where", "numeric_columns", "plain_rules", "with_conditions",
]  # fmt: skip

OnNull = Literal["keep", "drop"]
MOST = 1e15  # bound of a bound

# The default rules: name -> value and reason. Artefacts are removed from both sides, because a model learns to tell the
# sides apart by them. Poor quality is removed from chosen only: it is what rejected is for. Rules that are a matter of
# preference (refusals, boilerplate, length, personal data) are off: these signals are measured and reported only.
DEFAULTS: dict[str, tuple[float | bool, str]] = {
    "no_prompt_empty": (True, "the prompt is empty"),
    "no_chosen_empty": (True, "teaches the model to answer with nothing"),
    "no_rejected_empty": (True, "any answer is better than none: nothing to learn"),
    "no_identical_normalized": (True, "the sides differ in layout and punctuation only, where these say nothing"),
    "no_truncated": (True, "one side is a truncated copy of the other: teaches length, not quality"),
    "no_tie": (True, "the scores prefer neither side"),
    "no_scores_contradict": (True, "the scores prefer the other side"),
    "no_roles_broken": (True, "chat templates reject or garble turns that do not alternate"),
    "no_prompt_not_from_user": (True, "the prompt does not end with a user turn, or a tool's result, to answer"),
    "no_chosen_unknown_tool": (True, "teaches to call tools that do not exist"),
    "no_chosen_invalid_arguments": (True, "teaches to call tools with arguments that they refuse"),
    "no_chosen_result_without_call": (True, "chat templates reject or garble a tool's result that follows no call"),
    "max_response_turns": (1, "the dialogues diverge before the last turn: the sides answer different questions"),
    "max_chosen_chars": (50_000, "longer than what is trained on; a dump rather than an answer"),
    "max_rejected_chars": (50_000, "longer than what is trained on; a dump rather than an answer"),
    "max_prompt_chars": (100_000, "longer than what is trained on; a dump rather than a question"),
    "no_chosen_template_leak": (True, "teaches the model to write control tokens"),
    "no_rejected_template_leak": (True, "control tokens on one side reveal the label"),
    "no_chosen_role_label": (True, "the answer continues the dialogue in the user's place"),
    "no_think_differs": (True, "a reasoning block on one side only reveals the label"),
    "no_chosen_control_chars": (True, "broken decoding"),
    "no_rejected_control_chars": (True, "broken decoding on one side reveals the label"),
    "no_chosen_mojibake": (True, "broken decoding"),
    "no_chosen_keys": (True, "a secret, or what looks like one, must not be published"),
    "no_rejected_keys": (True, "a secret, or what looks like one, must not be published"),
    "no_chosen_open_fence": (True, "a code block is never closed: the answer is truncated or its formatting is broken"),
    "no_chosen_ends_midsentence": (True, "the answer is truncated inside a sentence"),
    "no_chosen_repeats_prompt": (True, "the answer repeats the question"),
    # Gopher's bounds (0.20, 0.18, 0.16 for top 2-, 3-, 4-grams) are for web pages: of 50 hh-rlhf answers that they
    # dropped, none was degenerate. These bounds drop only texts that consist mostly of repetition.
    "max_chosen_top_4gram_share": (0.5, "mostly one repeated phrase"),
    "max_chosen_dup_10gram_share": (0.7, "mostly repeated passages"),
    "max_chosen_dup_line_share": (0.7, "mostly repeated lines"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A bound: keep rows whose signal is in min..max (or in `allowed`); `on_null` decides for unmeasured rows.

    `about` is the user's reason; empty for that of the default rule or of the signal.
    """

    name: str
    column: str
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] = ()
    on_null: OnNull = "keep"
    about: str = ""

    def broken(self) -> pl.Expr:
        """Return whether a row breaks the rule and is dropped; never null."""
        signal = pl.col(self.column)
        if self.allowed:
            outside = ~signal.is_in(self.allowed)
        else:
            number = signal.cast(pl.Float64)
            below = number < min(self.min, _in_32_bits(self.min)) if self.min is not None else pl.lit(value=False)
            outside = below | (number > max(self.max, _in_32_bits(self.max))) if self.max is not None else below
        return outside.fill_null(value=self.on_null == "drop")

    def value(self) -> pl.Expr:
        """Return the signal as a number (true is 1); null for text signals and where it was not measured."""
        return pl.lit(None, pl.Float64) if self.allowed else pl.col(self.column).cast(pl.Float64)

    def reason(self) -> pl.Expr:
        """Return the name, for rules other than `no_…` with the value that broke it: `max_chars_ratio (23.4)`."""
        if self.name.startswith("no_"):
            return pl.lit(self.name)
        measured = pl.col(self.column) if self.allowed else pl.col(self.column).cast(pl.Float64).round(4)
        shown = measured.cast(pl.String).fill_null("not measured")
        return pl.concat_str(pl.lit(f"{self.name} ("), shown, pl.lit(")"))


def numeric_columns() -> list[str]:
    """Return the columns of all signals whose values are numbers or truth values."""
    return [name for name, signal in COLUMNS.items() if not signal.is_text]


def known_columns(own: Iterable[str]) -> dict[str, Signal]:
    """Return the columns of all signals, with those of own signals that are named only."""
    named = {name: Signal(name, "a signal of the user's own", pl.lit, "pair") for name in own}
    return named | COLUMNS


def _text_columns() -> list[str]:
    return [name for name, signal in COLUMNS.items() if signal.is_text]


def make_rule(name: str, value: Any, columns: Mapping[str, Signal] = COLUMNS) -> Rule | None:
    """
    Return the rule of a name and setting, or None when it is switched off (false or null).

    Examples: `max_chars_ratio: 4`, `no_tie: true`, `only_chosen_language: [en, pt]`, `{value: 4, on_null: drop}`.
    Raises RecipeError for an unknown name and for a value of the wrong type.
    """
    on_null: OnNull = "keep"
    reason = ""
    if isinstance(value, Mapping):
        on_null, reason = value.get("on_null", "keep"), value.get("reason", "")
        if not set(value) <= {"value", "on_null", "reason"} or on_null not in ("keep", "drop"):
            expected = "{value: …, on_null: keep or drop, reason: …}"
            raise RecipeError(f"rules.{name}: expected {expected}, found {shortened(dict(value))}")
        value = value.get("value", True)
    kind, _, column = name.partition("_")
    if kind not in BOUNDS or column not in columns:
        kinds = {True: ("only",), False: ("no", "min", "max")}
        known = [f"{kind}_{other}" for other, signal in columns.items() for kind in kinds[signal.is_text]]
        shape = "A rule is no_SIGNAL, min_SIGNAL, max_SIGNAL or only_SIGNAL; `curate signals` lists the signals."
        raise RecipeError(f"unknown rule {name!r}.{nearest(name, known)} {shape}")
    if value is None or value is False:
        return None
    return BOUNDS[kind](Rule(name, column, on_null=on_null, about=str(reason)), value)


def _no(rule: Rule, value: Any) -> Rule:
    if value is not True:
        raise RecipeError(f"rules.{rule.name}: expected true or false, found {shortened(value)}")
    return _max(rule, 0)


def _max(rule: Rule, value: Any) -> Rule:
    return replace(rule, max=_number(rule, value))


def _only(rule: Rule, value: Any) -> Rule:
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
    if (rule.column in COLUMNS and rule.column not in _text_columns()) or not texts:
        raise RecipeError(f"rules.{rule.name}: `only` takes a list of values, for {', '.join(_text_columns())}")
    return replace(rule, allowed=tuple(str(text) for text in texts))


def _number(rule: Rule, value: Any) -> float:
    if rule.column in _text_columns():
        raise RecipeError(f"rules.{rule.name}: {rule.column} is text; use only_{rule.column}: [en, …]")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecipeError(f"rules.{rule.name}: expected a number, found {shortened(value)}")
    if not -MOST <= value <= MOST:  # also false for NaN
        raise RecipeError(f"rules.{rule.name}: expected a number within ±{MOST:g}, found {shortened(value)}")
    return float(value)


BOUNDS: dict[str, Callable[[Rule, Any], Rule]] = {
    "no": _no,
    "min": lambda rule, value: replace(rule, min=_number(rule, value)),
    "max": _max,
    "only": _only,
}


def make_rules(
    settings: Mapping[str, Any], *, defaults: bool = True, columns: Mapping[str, Signal] = COLUMNS
) -> list[Rule]:
    """Return the default rules, updated by the settings: each adds a rule, changes a default, or switches it off."""
    merged = {name: value for name, (value, _) in DEFAULTS.items()} if defaults else {}
    rules = (make_rule(name, value, columns) for name, value in (merged | dict(settings)).items())
    return [rule for rule in rules if rule is not None]


def make_conditions(settings: Any, names: Iterable[str] = ()) -> list[Where]:
    """
    Return the conditions of `rules.where`: one, or a list of them; see `where.make_where`.

    Raises RecipeError also for two of the same name.
    """
    given = [settings] if isinstance(settings, str | Mapping) else settings
    if not isinstance(given, Sequence):
        raise RecipeError(f"where: expected a list of conditions, found {shortened(settings)}")
    found = [make_where(each, number, names) for number, each in enumerate(given, 1)]
    if twice := [one.name for place, one in enumerate(found) if one.name in [other.name for other in found[:place]]]:
        raise RecipeError(f"where: {shortened(twice[0])} stands there twice")
    return found


def plain_rules(rules: Sequence[Rule | Where]) -> dict[str, Any]:
    """Return rules as they stand in a recipe: `where` with the conditions, and the bounds by name."""
    conditions = [_plain_condition(n, rule) for n, rule in enumerate((r for r in rules if isinstance(r, Where)), 1)]
    bounds = {rule.name: _plain_bound(rule) for rule in rules if isinstance(rule, Rule)}
    return {**({"where": conditions} if conditions else {}), **bounds}


def _plain_bound(rule: Rule) -> Any:
    value = list(rule.allowed) or (True if rule.name.startswith("no_") else rule.min if rule.max is None else rule.max)
    others = {"on_null": rule.on_null, "reason": rule.about}
    changed = {key: other for key, other in others.items() if other not in ("keep", "")}
    return {"value": value, **changed} if changed else value


def _plain_condition(number: int, rule: Where) -> Any:
    given = {"condition": rule.condition, "name": rule.name, "reason": rule.about, "on_null": rule.on_null}
    plain = make_where(rule.condition, number)
    usual = {"name": plain.name, "reason": plain.about, "on_null": plain.on_null}
    changed = {key: value for key, value in given.items() if value != usual.get(key)}
    return rule.condition if len(changed) == 1 else changed


def _in_32_bits(bound: float) -> float:
    """Return the bound rounded to 32 bits, as signals are stored: 0.1 becomes slightly more than 0.1."""
    return float(np.float32(bound))


def apply_rules(signals: pl.DataFrame, rules: Sequence[Rule | Where]) -> pl.DataFrame:
    """
    Apply the rules to measured pairs.

    in : the columns of `signals.measure`; for conditions, those of `with_conditions`
    out: one row per pair: reasons (list[str], all broken rules in order; empty = kept), rule and value of the first
    """
    rows = signals.with_row_index("row")
    broken = rows.select("row", *(rule.broken().alias(rule.name) for rule in rules))
    dropped = broken.filter(pl.any_horizontal(rule.name for rule in rules)) if rules else broken.clear()
    hits = rows.join(dropped.select("row"), on="row", how="semi", maintain_order="left")
    none = pl.lit(None, pl.String)
    reasons = pl.concat_list(none, *(pl.when(rule.broken()).then(rule.reason()) for rule in rules)).list.drop_nulls()
    first = pl.coalesce(none, *(pl.when(rule.broken()).then(pl.lit(rule.name)) for rule in rules))
    value = pl.lit(None, pl.Float64)
    for rule in reversed(rules):
        value = pl.when(rule.broken()).then(rule.value()).otherwise(value)
    named = hits.select("row", reasons=reasons, rule=first, value=value)
    return (
        rows.select("row")
        .join(named, on="row", how="left", maintain_order="left")
        .select(pl.col("reasons").fill_null(pl.lit([], pl.List(pl.String))), "rule", "value")
    )


def __dir__() -> list[str]:
    return sorted(__all__)
