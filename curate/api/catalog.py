"""What there is by name: signals, default rules, eval sets; as plain rows for a table."""

from pathlib import Path
from typing import Any

from curate.contamination.eval_sets import known_evals, load_eval
from curate.contamination.index import EvalIndex
from curate.errors import RecipeError
from curate.rules import DEFAULTS
from curate.signals import SIGNALS


def signals() -> list[dict[str, Any]]:
    """Return signal, of (the sides it is measured on, or "pair") and definition of every built-in signal."""
    return [{"signal": s.name, "of": ", ".join(s.sides) or "pair", "definition": s.about} for s in SIGNALS.values()]


def rules() -> list[dict[str, Any]]:
    """Return rule, value and why of every default rule."""
    return [{"rule": name, "value": value, "why": reason} for name, (value, reason) in DEFAULTS.items()]


def evals() -> list[dict[str, Any]]:
    """Return name, Hub id, split and text columns of every eval set known by name."""
    return [
        {"set": name, "Hub": one["hub"], "split": one.get("split"), "text": ", ".join(one.get("columns", ()))}
        for name, one in known_evals().items()
    ]


def save_evals(sets: list[str], out: Path, *, ngram: int = 8) -> list[dict[str, Any]]:
    """Save eval sets as one index of hashes, and return how many items each has. Raises for an unknown set."""
    if out.is_dir():
        raise RecipeError(f"{out} is a folder; --out must be a file, such as {out / 'evals.parquet'}")
    index = EvalIndex.build([load_eval(name) for name in sets], ngram=ngram)
    index.save(out)
    return index.items.group_by("eval_set", maintain_order=True).len("items").to_dicts()
