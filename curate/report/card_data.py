"""
The numbers shown on a run's card, as plain data: `summary.json` of the run directory, published with the data.

A card is built from them and the recipe alone, so that it can be rebuilt without the run's stages.
"""

from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy as np
import polars as pl

from curate.files import read_json
from curate.report.summary import Summary
from curate.rundir.manifest import ContaminationFacts, Input
from curate.signals import SIGNALS

LOGARITHMIC = ("words", "ratio")
PERSONAL = ("emails", "phones", "ips")
SIDES = ("prompt", "chosen", "rejected")
BARS = "▁▂▃▄▅▆▇█"
BINS = 12
CLUSTERS = 20  # largest prompt clusters shown
FROM_MANIFEST = ("prefcurate", "counts", "bytes", "inputs", "generation", "decontaminate", "leaks")


class ReasonFacts(TypedDict):
    """Why rows were dropped: as their first reason, and as any."""

    stage: str
    rule: str
    about: str
    first: int
    any: int


class LengthFacts(TypedDict):
    """Median words of the sides, and the share of pairs whose chosen answer is the longer one."""

    chosen: float | None
    rejected: float | None
    prompt: float | None
    chosen_longer: float | None


class FlagFacts(TypedDict):
    """Share of the pairs with a flag, before and after cleaning."""

    name: str
    about: str
    before: float
    after: float | None


class SignalFacts(TypedDict):
    """How a signal is distributed over the kept pairs."""

    name: str
    measured: int
    p05: float | None
    p50: float | None
    p95: float | None
    shape: str


class ClusterFacts(TypedDict):
    """A cluster of prompts."""

    cluster: str
    pairs: int
    kept: int


class Facts(TypedDict):
    """The content of summary.json; null for steps that the run did not include."""

    prefcurate: str | None
    counts: dict[str, int]
    bytes: dict[str, int]
    inputs: dict[str, Input]
    generation: dict[str, Any] | None
    decontaminate: ContaminationFacts | None
    leaks: int | None
    funnel: list[tuple[str, int]]
    reasons: list[ReasonFacts]
    languages: list[tuple[str, float]]
    lengths: dict[str, LengthFacts]
    flags: list[FlagFacts]
    signals: list[SignalFacts]
    personal: dict[str, int]
    clusters: list[ClusterFacts]
    selection: list[dict[str, Any]]
    selected_sources: list[dict[str, Any]]
    sample: dict[str, Any] | None


def read_facts(path: Path) -> dict[str, Any]:
    """Return a summary.json as plain data. Raise InputError naming the file and the field that is not as expected."""
    found: dict[str, Any] = msgspec.to_builtins(read_json(path, Facts))
    return found


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
        "selection": summary.selection,
        "selected_sources": summary.selected_sources[:CLUSTERS],
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
