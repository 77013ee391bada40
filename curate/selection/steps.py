"""The steps of a selection, taken in order, and the budget: which pairs each drops, and what it changed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curate.errors import RecipeError
from curate.selection.choices import Material, choose
from curate.selection.mixing import room_per_source
from curate.selection.ranked import CHOICE, column_of
from curate.selection.sections import Select, Step
from curate.selection.step_sections import Cap

ALWAYS = ("pair_id", "source", "chosen_chars", "rejected_chars", "margin")
NEEDED = {
    "rip": ("rejected_score", "margin"), "bees": ("margin",), "selective": ("heldout_loss",),
    "implicit_gap": ("implicit_gap",), "chosen_first": ("chosen_score", "margin"),
}  # fmt: skip
OPTIONAL = ("implicit_gap",)  # used by bees where it was measured
MODEL_COLUMNS = ("implicit_gap", "heldout_loss")  # measured by models only
VECTORS = ("like", "unlike", "topics", "mmr", "farthest")  # steps that need embeddings
HOW = {
    "implicit_gap": "measure it with models.policy and models.reference",
    "heldout_loss": "measure it with label_noise: true",
    "chosen_score": "let a judge or a reward model score the answers",
    "rejected_score": "let a judge or a reward model score the answers",
    "margin": "let a judge or a reward model score the answers",
}
DROPPED = pl.Schema({"at": pl.Int64(), "rule": pl.String(), "value": pl.Float64()})


@dataclass(frozen=True)
class Selected:
    """
    What a selection drops and what each step changed.

    drops: DROPPED, `at` is the place in the frame. steps: for each step its name, `rows` before and after in all and by
    source, and the medians of ALWAYS' numbers before and after.
    """

    drops: pl.DataFrame
    steps: list[dict[str, Any]]


def columns_of_steps(settings: Select) -> list[str]:
    """Return the columns that the selection reads, in a fixed order; those of OPTIONAL may be missing."""
    steps = [*settings.steps, *([settings.filling(1)] if _is_filled(settings) else [])]
    named = [name for step in steps for name in _columns(step)]
    optional = OPTIONAL if any(step.name == "bees" for step in steps) else ()
    return list(dict.fromkeys([*ALWAYS, *named, *optional]))


def needs_vectors(settings: Select) -> bool:
    """Return whether some step needs embeddings of the prompts."""
    filled = [settings.filling(1)] if _is_filled(settings) else []
    return any(
        step.name in VECTORS or (isinstance(step.settings, Cap) and step.settings.per == "cluster")
        for step in (*settings.steps, *filled)
    )


def take_steps(pairs: pl.DataFrame, settings: Select, material: Material) -> Selected:
    """
    Select pairs by the steps of the section, in order, then by its mix and budget.

    in : a row per pair with the columns of `columns_of_steps`
    Raises RecipeError for a step that needs what no pair has, and for one that keeps no pair: it says what would.
    """
    rows, drops = np.arange(len(pairs)), [pl.DataFrame(schema=DROPPED)]
    reports: list[dict[str, Any]] = []
    for step in settings.steps:
        if not len(rows):
            break
        here = pairs[rows]
        _check_measured(step, here)
        choice = choose(step, here, material.of(rows), settings.seed)
        keep = choice.get_column("keep").to_numpy()
        if not keep.any():
            raise RecipeError(_nothing(step, choice))
        rows = _record(step.name, rows, keep, choice, pairs, (drops, reports))
    if _is_filled(settings) and len(rows):
        choice = _filled(pairs[rows], settings, material.of(rows))
        _record("budget", rows, choice.get_column("keep").to_numpy(), choice, pairs, (drops, reports))
    return Selected(pl.concat(drops), reports)


def _is_filled(settings: Select) -> bool:
    return bool(settings.budget is not None or settings.mix or settings.rows)


def _columns(step: Step) -> list[str]:
    its = step.settings
    by = [column_of(its.by)] if hasattr(its, "by") else []
    per = [its.per] if isinstance(its, Cap) and its.per != "cluster" else []
    return [*NEEDED.get(step.name, ()), *by, *per]


def _check_measured(step: Step, pairs: pl.DataFrame) -> None:
    for name in NEEDED.get(step.name, ()):
        if name not in pairs.columns or not pairs.get_column(name).is_not_null().any():
            raise RecipeError(f"select.{step.name} needs {name}, which no pair has: {HOW[name]}")


def _filled(pairs: pl.DataFrame, settings: Select, material: Material) -> pl.DataFrame:
    """Return CHOICE of the budget: from each source as many as it has room for."""
    room = room_per_source(pairs.get_column("source"), settings.budget, settings.mix, settings.rows)
    parts = []
    for source, count in room.items():
        rows = np.arange(len(pairs))
        if source is not None:
            rows = pairs.select(pl.arg_where(pl.col("source") == source)).to_series().to_numpy()
        choice = _all_or_none(len(rows), count)
        if choice is None:
            choice = choose(settings.filling(count), pairs[rows], material.of(rows), settings.seed)
        parts.append(choice.with_columns(rule=pl.lit("budget"), at=pl.Series(rows, dtype=pl.Int64)))
    return pl.concat(parts).sort("at").drop("at")


def _all_or_none(rows: int, count: int) -> pl.DataFrame | None:
    """Return CHOICE where there is nothing to choose, else None."""
    if 0 < count < rows:
        return None
    values = {"keep": [count > 0] * rows, "value": [None] * rows, "rule": [""] * rows}
    return pl.DataFrame(values, schema=CHOICE)


def _record(
    name: str, rows: np.ndarray, keep: np.ndarray, choice: pl.DataFrame, pairs: pl.DataFrame, to: tuple[Any, Any]
) -> np.ndarray:
    """Note a step's drops and what it changed; return the rows that are left."""
    drops, reports = to
    left: np.ndarray = rows[keep]
    dropped = choice.filter(~pl.col("keep")).select("rule", "value")
    drops.append(dropped.select(at=pl.Series(rows[~keep], dtype=pl.Int64), rule="rule", value="value"))
    before, after = pairs[rows], pairs[left]
    sources = [dict(part.get_column("source").value_counts().iter_rows()) for part in (before, after)]
    reports.append(
        {
            "step": name,
            "rows": [len(before), len(after)],
            "sources": {source: [count, sources[1].get(source, 0)] for source, count in sorted(sources[0].items())},
            "medians": {
                column: [part.get_column(column).cast(pl.Float64).median() for part in (before, after)]
                for column in ("chosen_chars", "rejected_chars", "margin")
            },
        }
    )
    return left


def _nothing(step: Step, choice: pl.DataFrame) -> str:
    """Say that a step keeps no pair, and what would keep some."""
    values = choice.get_column("value").drop_nulls()
    if step.name == "like" and len(values):
        highest = np.max(values.to_numpy())
        return (
            f"select.like keeps none of {len(choice):,} pairs: the highest relevance is {highest:.2f}. Name a "
            f"threshold up to that, or top or share instead"
        )
    rules = choice.get_column("rule").value_counts().sort("count", "rule", descending=[True, False])
    missed = ", ".join(f"{rule} drops {count:,}" for rule, count in rules.iter_rows())
    found = values.to_numpy()
    about = f" ({found.min():.3g} to {found.max():.3g})" if len(found) else ""
    found_none = f"select.{step.name} keeps none of {len(choice):,} pairs"
    return f"{found_none}: {missed}{about}. Widen it, or leave it out"
