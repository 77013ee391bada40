"""
The numbers shown on a run's card, as plain data: `summary.json` of the run directory, published with the data.

A card is built from them and the recipe alone, so that it can be rebuilt without the run's stages.
"""

from typing import Any

import numpy as np
import polars as pl

from curate.report.summary import Summary
from curate.signals import SIGNALS

LOGARITHMIC = ("words", "ratio")
PERSONAL = ("emails", "phones", "ips")
SIDES = ("prompt", "chosen", "rejected")
BARS = "▁▂▃▄▅▆▇█"
BINS = 12
CLUSTERS = 20  # largest prompt clusters shown
FROM_MANIFEST = ("prefcurate", "counts", "bytes", "inputs", "generation", "decontaminate", "leaks")


def facts(summary: Summary) -> dict[str, Any]:
    """Return the numbers of the card; null for steps the run did not include (generation, decontaminate, leaks)."""
    manifest = summary.run.manifest.to_dict()
    shown = [column for signal in SIGNALS.values() for column in signal.card_columns]
    return {
        **{name: manifest.get(name) for name in FROM_MANIFEST},
        "funnel": [list(step) for step in summary.funnel],
        "reasons": [
            {"stage": r.stage, "rule": r.rule, "about": r.about, "first": r.first, "any": r.any}
            for r in summary.reasons
        ],
        "languages": [list(language) for language in summary.languages],
        "lengths": summary.lengths,
        "flags": [flag for flag in summary.flags if flag["after"]],
        "signals": [_distribution(summary, name) for name in summary.measured(shown)],
        "personal": _personal(summary),
        "clusters": summary.clusters[:CLUSTERS],
        "sample": next(iter(summary.kept_examples), None),
    }


def _distribution(summary: Summary, name: str) -> dict[str, Any]:
    """Return for the kept pairs: how many have a value, three quantiles, and a histogram as a string of bars."""
    rows = summary.values(name)
    values = rows.filter("kept").get_column(name).drop_nulls().cast(pl.Float64)
    values = values.filter(values.is_finite())
    low, median, high = (values.quantile(share, "nearest") for share in (0.05, 0.5, 0.95))
    return {
        "name": name,
        "measured": len(values),
        "p05": low,
        "p50": median,
        "p95": high,
        "shape": _shape(values.to_numpy(), logarithmic=name.endswith(LOGARITHMIC)),
    }


def _shape(values: np.ndarray[Any, Any], *, logarithmic: bool) -> str:
    """Return a histogram from the first to the last percentile, one character per bar; empty for a constant."""
    if not len(values):
        return ""
    values = np.log1p(np.maximum(values, 0)) if logarithmic else values
    low, high = np.quantile(values, (0.01, 0.99))
    if low == high:
        return ""
    counts = np.histogram(np.clip(values, low, high), BINS, (low, high))[0]
    return "".join(BARS[round(count / counts.max() * (len(BARS) - 1))] for count in counts)


def _personal(summary: Summary) -> dict[str, int]:
    """Count kept pairs with at least one e-mail address, telephone number or IP address in any of their texts."""
    has = [pl.any_horizontal(pl.col(f"{side}_{name}") > 0 for side in SIDES).sum().alias(name) for name in PERSONAL]
    counted = summary.signals.filter("kept").select(has).collect(engine="streaming").row(0, named=True)
    return {name: int(count or 0) for name, count in counted.items()}
