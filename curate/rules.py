"""Rules: bounds on signals, as data. A rule's name says which side is kept, so a recipe reads as what it does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from curate.errors import RecipeError, nearest
from curate.signals import COLUMNS, Signal

OnNull = Literal["keep", "drop"]
TEXT_COLUMNS = tuple(name for name, signal in COLUMNS.items() if signal.is_text)

# Rules that hold unless a recipe says otherwise: name -> value, and why. Artefacts are not wanted on either side,
# because a model learns to tell the sides by them; plain badness is wanted out of chosen only, it is what rejected
# is for. Rules about taste (refusals, boilerplate, length, personal data) are off: measured, reported, yours to set.
DEFAULTS: dict[str, tuple[float | bool, str]] = {
    "no_prompt_empty": (True, "nothing was asked"),
    "no_chosen_empty": (True, "teaches to answer with nothing"),
    "no_rejected_empty": (True, "any answer beats none: nothing to learn"),
    "no_identical_normalized": (True, "no difference between the sides but spacing and punctuation"),
    "no_truncated": (True, "one side is the other cut off: teaches length, not quality"),
    "no_tie": (True, "the scores prefer neither side"),
    "no_scores_contradict": (True, "the scores prefer the other side"),
    "no_roles_broken": (True, "chat templates reject or garble turns that do not alternate"),
    "no_prompt_not_from_user": (True, "there is no question to answer"),
    "max_response_turns": (1, "the dialogues part early: the sides answer different questions"),
    "max_chosen_chars": (50_000, "longer than what is trained on; a dump rather than an answer"),
    "max_rejected_chars": (50_000, "longer than what is trained on; a dump rather than an answer"),
    "max_prompt_chars": (100_000, "longer than what is trained on; a dump rather than a question"),
    "no_chosen_template_leak": (True, "teaches to write control tokens"),
    "no_rejected_template_leak": (True, "control tokens on one side give the label away"),
    "no_chosen_role_label": (True, "the answer goes on to play the user's part"),
    "no_think_differs": (True, "a reasoning block on one side only gives the label away"),
    "no_chosen_control_chars": (True, "broken decoding"),
    "no_rejected_control_chars": (True, "broken decoding gives the label away"),
    "no_chosen_mojibake": (True, "broken decoding"),
    "no_chosen_keys": (True, "a secret, or what looks like one, must not be published"),
    "no_rejected_keys": (True, "a secret, or what looks like one, must not be published"),
    "no_chosen_open_fence": (True, "a code block that never ends: cut off, or the rest reads as code"),
    "no_chosen_ends_midsentence": (True, "cut off inside a sentence"),
    "no_chosen_repeats_prompt": (True, "an echo of the question is no answer"),
    # Gopher's own bounds (0.20, 0.18, 0.16 for top 2-, 3-, 4-grams) are for web pages: of 50 answers of hh-rlhf that
    # they dropped none was degenerate. These bounds ask for a text that is mostly repetition.
    "max_chosen_top_4gram_share": (0.5, "one phrase again and again"),
    "max_chosen_dup_10gram_share": (0.7, "the same passages again and again"),
    "max_chosen_dup_line_share": (0.7, "the same lines again and again"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Keep rows whose signal lies in min..max (or among `allowed`); `on_null` decides where it was not measured."""

    name: str
    column: str
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] = ()
    on_null: OnNull = "keep"

    def broken(self) -> pl.Expr:
        """True where the row must go; never null."""
        signal = pl.col(self.column)
        if self.allowed:
            outside = ~signal.is_in(self.allowed)
        else:
            number = signal.cast(pl.Float64)
            below = number < min(self.min, _in_32_bits(self.min)) if self.min is not None else pl.lit(value=False)
            outside = below | (number > max(self.max, _in_32_bits(self.max))) if self.max is not None else below
        return outside.fill_null(value=self.on_null == "drop")

    def value(self) -> pl.Expr:
        """The signal as a number (true is 1); null for text and where it was not measured."""
        return pl.lit(None, pl.Float64) if self.allowed else pl.col(self.column).cast(pl.Float64)

    def reason(self) -> pl.Expr:
        """`name`, with the value that broke it where that says more than the name: `max_chars_ratio (23.4)`."""
        if self.name.startswith("no_"):
            return pl.lit(self.name)
        measured = pl.col(self.column) if self.allowed else pl.col(self.column).cast(pl.Float64).round(4)
        shown = measured.cast(pl.String).fill_null("not measured")
        return pl.concat_str(pl.lit(f"{self.name} ("), shown, pl.lit(")"))


def make_rule(name: str, value: Any, columns: Mapping[str, Signal] = COLUMNS) -> Rule | None:
    """
    A rule from its name and setting: `max_chars_ratio: 4`, `no_tie: true`, `only_chosen_language: [en, pt]`, or
    `{value: 4, on_null: drop}`. None when it is switched off (false or null). Raises RecipeError.
    """
    on_null: OnNull = "keep"
    if isinstance(value, Mapping):
        if not set(value) <= {"value", "on_null"} or value.get("on_null", "keep") not in ("keep", "drop"):
            raise RecipeError(f"rules.{name}: expected {{value: …, on_null: keep or drop}}, found {dict(value)}")
        on_null, value = value.get("on_null", "keep"), value.get("value", True)
    kind, _, column = name.partition("_")
    if kind not in BOUNDS or column not in columns:
        raise _unknown_rule(name, columns)
    if value is None or value is False:
        return None
    return BOUNDS[kind](Rule(name, column, on_null=on_null), value)


def _no(rule: Rule, value: Any) -> Rule:
    if value is not True:
        raise RecipeError(f"rules.{rule.name}: expected true or false, found {value!r}")
    return _max(rule, 0)


def _min(rule: Rule, value: Any) -> Rule:
    return replace(rule, min=_number(rule, value))


def _max(rule: Rule, value: Any) -> Rule:
    return replace(rule, max=_number(rule, value))


def _only(rule: Rule, value: Any) -> Rule:
    texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else []
    if rule.column not in TEXT_COLUMNS or not texts:
        raise RecipeError(f"rules.{rule.name}: 'only' takes a list of values, for {', '.join(TEXT_COLUMNS)}")
    return replace(rule, allowed=tuple(str(text) for text in texts))


def _number(rule: Rule, value: Any) -> float:
    if rule.column in TEXT_COLUMNS:
        raise RecipeError(f"rules.{rule.name}: {rule.column} is text; use only_{rule.column}: [en, …]")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecipeError(f"rules.{rule.name}: expected a number, found {value!r}")
    return float(value)


BOUNDS: dict[str, Callable[[Rule, Any], Rule]] = {"no": _no, "min": _min, "max": _max, "only": _only}


def make_rules(
    settings: Mapping[str, Any], *, defaults: bool = True, columns: Mapping[str, Signal] = COLUMNS
) -> list[Rule]:
    """The default rules, then the settings: each adds a rule, changes a default, or switches it off."""
    merged = {name: value for name, (value, _) in DEFAULTS.items()} if defaults else {}
    rules = (make_rule(name, value, columns) for name, value in (merged | dict(settings)).items())
    return [rule for rule in rules if rule is not None]


def _in_32_bits(bound: float) -> float:
    """The bound as a 32-bit signal holds it: a share of one in ten, stored so, is a little more than 0.1."""
    return float(np.float32(bound))


def apply_rules(signals: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """
    in : the columns of `signals.measure`
    out: one row each: reasons (list[str], every broken rule in rule order, empty = passes), rule and value of the first
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


def _unknown_rule(name: str, columns: Mapping[str, Signal]) -> RecipeError:
    known = [f"{kind}_{column}" for column, signal in columns.items() for kind in _kinds(signal)]
    shape = "A rule is no_SIGNAL, min_SIGNAL, max_SIGNAL or only_SIGNAL; `curate signals` lists the signals."
    return RecipeError(f"unknown rule {name!r}.{nearest(name, known)} {shape}")


def _kinds(signal: Signal) -> tuple[str, ...]:
    return ("only",) if signal.is_text else ("no", "min", "max")
