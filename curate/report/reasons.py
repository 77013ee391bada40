"""Why rows are dropped, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.signals import COLUMNS
from curate.signals.patterns import template_family
from curate.sources.problems import PROBLEMS

# Explanations of reasons that are not rules of the recipe.
ABOUT = PROBLEMS | {
    "duplicate_pair": "another row has the same prompt and the same two responses",
    "contradiction": "another row has the same two responses with the opposite preference",
    "duplicate_responses": "another row has nearly the same two responses to the same or nearly the same prompt",
    "near_contradiction": "another row has nearly the same two responses with the opposite preference",
    "in_other_set": "the row duplicates a row of a dataset in dedup.against",
    "eval_item": "the pair contains an item of an eval set",
    "like": "it is not similar enough to the examples of what is wanted",
    "unlike": "it is similar to the examples of what is not wanted",
    "topics": "its cluster of prompts is not wanted",
    "rip_score": "the rejected answer is among the worse half: too easy to tell (RIP)",
    "rip_length": "the rejected answer is among the shorter half (RIP)",
    "rip_gap": "the answers are too far apart: too easy to tell (RIP)",
    "bees": "others have a larger margin (BeeS)",
    "selective": "others are easier to learn (Selective DPO)",
    "implicit_gap": "its gap of implicit reward is below the floor, or others are harder",
    "chosen_first_score": "others have a better chosen answer",
    "chosen_first_gap": "others with as good an answer have a larger gap",
    "top": "others rank higher",
    "random": "not drawn",
    "length_balanced": "more pairs of this length ratio have the longer answer on the same side",
    "cap": "its group has more pairs than the recipe keeps",
    "mmr": "others are better, or differ more from those selected",
    "farthest": "others differ more from those selected",
    "budget": "the budget, or the share of its source, is filled with others",
    "max_pairs_per_prompt": "the prompt has more pairs than the recipe keeps",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for dropping rows: how often it was the first reason, and how often it applied at all."""

    stage: str
    rule: str
    about: str
    first: int
    any: int


def about(rule: str) -> str:
    """Return an explanation of a reason: that of the default rule if there is one, else that of the signal."""
    from curate.dedup.finders import FINDERS  # here, since a card and a page of training need none of it
    from curate.rules import DEFAULTS

    if rule in ABOUT:
        return ABOUT[rule]
    if (finder := FINDERS.get(rule.removesuffix("_duplicate"))) and rule.endswith("_duplicate"):
        return finder.about
    if rule in DEFAULTS:
        return DEFAULTS[rule][1]
    column = rule.partition("_")[2]
    return COLUMNS[column].about if column in COLUMNS else rule


def explanation(reason: str, row: Mapping[str, Any]) -> str:
    """Return the explanation of a ledger row's reason, with the value of its signal in that row, if it is about one."""
    name = reason.split(" ", maxsplit=1)[0].rstrip(":")
    column = name.partition("_")[2]
    if column.endswith("template_leak"):
        texts = "\n\n".join(message["content"] for message in row.get(column.partition("_")[0]) or [])
        return f"{about(name)}; the template of: {template_family(texts) or 'unknown'}"
    if about(name) == name and reason.startswith(f"{name} ("):  # a condition, or a bound on a signal of the user's own
        return "the condition is not met"
    return about(name) if column not in COLUMNS else f"{about(name)}; measured: {cell(row.get(column))}"


def cell(value: object) -> str:
    """Return a value formatted for a table; null is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
