"""What decides in a run, in words: the bound of each rule in its recipe, and the value of a row beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from curate.report.reasons import cell
from curate.rules import DEFAULTS, Rule, Where
from curate.signals import COLUMNS

if TYPE_CHECKING:
    from curate.recipe.load import Recipe
    from curate.report.summary import Summary

NOT_MEASURED = "not measured"
SHOWN_CHARS = 200  # of a text in a condition's columns
# What the value in the ledger is, for steps of a selection.
SELECTED_BY = {
    "like": "relevance", "unlike": "relevance", "topics": "cluster", "rip_score": "rejected_score",
    "rip_length": "rejected_chars", "rip_gap": "margin", "bees": "probability", "selective": "held-out loss",
    "implicit_gap": "gap", "length_balanced": "log2 of the length ratio",
    **dict.fromkeys(("chosen_first_score", "chosen_first_gap", "top", "cap", "mmr", "farthest", "budget"), "quantile"),
}  # fmt: skip
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Bounds:
    """The bounds of a recipe by the name of the rule, and of each other reason that has one."""

    recipe: "Recipe"

    @cached_property
    def rules(self) -> dict[str, Rule | Where]:
        """The rules of the recipe by name, in their order."""
        return {rule.name: rule for rule in self.recipe.built_rules}

    def bound(self, reason: str) -> str:
        """Return what drops a row: `chars_ratio > 4`, `similarity of prompt ≥ 0.8`; empty where there is no bound."""
        rule = self.rules.get(reason)
        if isinstance(rule, Where):
            return f"not: {' '.join(rule.condition.split())}"
        if rule is None:
            return self._other(reason)
        return _of_rule(rule) + (f" or {NOT_MEASURED}" if rule.on_null == "drop" else "")

    def decided(self, reason: str, row: Row) -> str:
        """
        Return what decided about a row, given its reason from the ledger: `strength 0.42 < 0.9`.

        `row`: its ledger columns, and the columns that its rules look at.
        """
        name, _, detail = reason.partition(": ")
        name = name.split(" ", maxsplit=1)[0]
        rule = self.rules.get(name)
        if isinstance(rule, Where):
            found = ", ".join(f"{column} {_short(row[column])}" for column in rule.columns if column in row)
            return f"not: {' '.join(rule.condition.split())}" + (f" ({found})" if found else "")
        if rule is not None:
            return _decided(rule, row.get(rule.column))
        if name == row.get("rule") and row.get("value") is not None:
            return self._measured(name, row["value"]) or detail
        return detail

    @cached_property
    def similarity(self) -> dict[str, float]:
        """The least similarity of each kind of duplicate."""
        dedup = self.recipe.dedup
        sections = {f"{name}_duplicate": section for name, section in dedup.finders.items()}
        found = {name: float(section.threshold) for name, section in sections.items() if hasattr(section, "threshold")}
        if dedup.responses is not None:
            found |= dict.fromkeys(("duplicate_responses", "near_contradiction"), dedup.responses)
        return found

    @cached_property
    def _limits(self) -> dict[str, tuple[str, float | None]]:
        """Of the other reasons that compare a value with a number of the recipe: what the value is, and the number."""
        contamination = self.recipe.decontaminate
        return {
            "max_pairs_per_prompt": ("pairs of the prompt", self.recipe.dedup.max_pairs_per_prompt),
            "eval_item": ("overlap", contamination.threshold if contamination else None),
        }

    def _similarity(self, reason: str) -> str:
        """Return what is similar: `similarity of prompt`."""
        finder = self.recipe.dedup.finders.get(reason.removesuffix("_duplicate"))
        return f"similarity of {finder.compare if finder else 'responses'}"

    def _other(self, reason: str) -> str:
        if reason in self.similarity:
            return f"{self._similarity(reason)} ≥ {number(self.similarity[reason])}"
        what, limit = self._limits.get(reason, ("", None))
        if limit is not None:
            return f"{what} > {number(limit)}"
        pair = self.recipe.pair
        settings: dict[str, Callable[[], str]] = {
            "below_margin": lambda: f"lead < {number(pair.min_margin)}" if pair else "",
            "chosen_below_floor": lambda: f"best score < {number(pair.min_chosen_score)}" if pair else "",
            "like": lambda: self._relevance("like", "<"),
            "unlike": lambda: self._relevance("unlike", "≥"),
        }
        return settings.get(reason, lambda: "")()

    def _relevance(self, step: str, sign: str) -> str:
        select = self.recipe.select
        for one in [one.settings for one in (select.steps if select else ()) if one.name == step]:
            if one.top is None and one.share is None:
                return f"relevance {sign} {number(0.5 if one.threshold is None else one.threshold)}"
        return "relevance, among all pairs"

    def _measured(self, reason: str, value: float) -> str:
        if reason in self.similarity:
            least = self.similarity[reason]
            what = self._similarity(reason)
            if value >= least:
                return compared(what, value, "≥", least)
            return f"{compared(what, value, '<', least)}, but other rows link the two"
        what, limit = self._limits.get(reason, ("", None))
        if what:
            return f"{what} {number(value)}" if limit is None else compared(what, value, ">", limit)
        if reason in SELECTED_BY:
            return f"{SELECTED_BY[reason]} {number(value)}"
        return f"similarity {number(value)}" if reason == "in_other_set" else ""


def _of_rule(rule: Rule) -> str:
    if rule.allowed:
        return f"{rule.column} not in {', '.join(rule.allowed)}"
    if rule.name.startswith("no_") and not _counted(rule.column):
        return rule.column
    if rule.min is not None:
        return f"{rule.column} < {number(rule.min)}"
    return f"{rule.column} > {number(rule.max)}"


def _decided(rule: Rule, value: Any) -> str:
    if value is None:
        return f"{rule.column} {NOT_MEASURED}"
    if rule.allowed:
        return f"{rule.column} {_short(value)}, not in {', '.join(rule.allowed)}"
    if isinstance(value, bool):
        return f"{rule.column}: {cell(value)}"
    if rule.min is not None and value < rule.min:
        return compared(rule.column, value, "<", rule.min)
    return compared(rule.column, value, ">", rule.max or 0.0)


def compared(what: str, value: float, sign: str, bound: float) -> str:
    """Return a value beside its bound, with as many digits as show that they differ: `margin 0.10004 > 0.1`."""
    digits = 4
    while value != bound and digits < 17 and number(value, digits) == number(bound, digits):
        digits += 1
    return f"{what} {number(value, digits)} {sign} {number(bound, digits)}"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number for people: whole ones with commas, others with some significant digits."""
    if value is None:
        return "–"
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.{digits}g}"


def _counted(column: str) -> bool:
    return column in COLUMNS and COLUMNS[column].counted


def _short(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    text = " ".join(cell(value).split())
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """A rule of a run: its bound, for how many pairs its signal was measured, and how many rows it dropped."""

    name: str
    bound: str
    measured: int | None  # null for a condition, which looks at several columns
    pairs: int
    first: int
    any: int
    by_default: bool

    @property
    def unmeasured(self) -> bool:
        """Whether it could not decide about any pair."""
        return self.measured == 0 and self.pairs > 0


def rule_facts(summary: "Summary", bounds: Bounds) -> list[RuleFacts]:
    """Return every rule of the recipe, in order, with what it found."""
    known = summary.signals.collect_schema()
    columns = {
        name: rule.column for name, rule in bounds.rules.items() if isinstance(rule, Rule) and rule.column in known
    }
    measured = summary.measurements(list(dict.fromkeys(columns.values()))) if columns else {}
    pairs = summary.signals.select(pl.len()).collect().item()
    dropped = {reason.rule: reason for reason in summary.reasons if reason.stage == "rules"}
    return [
        RuleFacts(
            name,
            bounds.bound(name),
            measured[columns[name]] if name in columns else None,
            pairs,
            dropped[name].first if name in dropped else 0,
            dropped[name].any if name in dropped else 0,
            name in DEFAULTS,
        )
        for name in bounds.rules
    ]
