"""Other rules, duplicates, selection or split for a finished run, from what it stored."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curate import flow
from curate.api.comparing import Diff, diff_of, ledger_of
from curate.errors import InputError, RecipeError
from curate.recipe.load import Recipe, as_recipe, load_recipe, resolved
from curate.rundir.result import Run, RunLike, open_run
from curate.rundir.store import MANIFEST, RECIPE, STAGES, Store
from curate.signals import Signal
from curate.signals.own import in_use
from curate.stages.measure import applied, naming_signals

BEFORE_SIGNALS = ("source", "prompts", "generate", "judge", "pair", "budget")  # sections that decide what the pairs are
# Stages that depend on the pairs.
AFTER_PAIRS = (
    "models", "signals", "label_noise", "rules", "dedup", "decontaminate", "clusters", "select", "split",
)  # fmt: skip


class Retuned(NamedTuple):
    """The run as it is now, and what changed; None where an interrupted call was finished."""

    run: Run
    diff: Diff | None


def retune(
    run: RunLike,
    *,
    rules: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    signals: Sequence[Signal | Callable[..., Any]] = (),
) -> Retuned:
    """
    Change a finished run's rules, or what comes after them, from its stored pairs and signals: neither the source nor a
    model is needed.

    Parameters
    ----------
    run
        A `Run`, or its folder; it is changed in place. After an interruption the same call finishes it.
    rules
        Changes of its rules: `{"max_chars_ratio": 4}`; False switches one off.
    settings
        `section.key=value` texts, as for `--set`: rules, dedup, decontaminate, select, split, publish, train.
    signals
        The signals of your own with which it was made, if there were any.

    Returns
    -------
    `Retuned`: `run`, and `diff`, as `curate.diff` of before and after.

    Raises
    ------
    RecipeError for a setting that is invalid, or that changes what the pairs are; InputError for a folder that holds no
    run, a pulled one, or a damaged one.

    Examples
    --------
    >>> import curate, tempfile
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green. " * n, "rejected": "No idea."} for n in range(1, 5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     curate.clean(rows, out=folder, settings=["split.test=0"]).counts["kept"]
    ...     curate.retune(folder, rules={"max_chosen_chars": 10}).diff
    4
    Diff(now dropped 3 · same 1)
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    with in_use(signals):
        before = open_run(folder) if (folder / MANIFEST).is_file() else None
        old = before.recipe if before else _unfinished(folder)
        wanted = [f"rules.{name}={json.dumps(value)}" for name, value in (rules or {}).items()]
        changed = naming_signals(as_recipe(old, [*wanted, *settings]))
        _check(old, changed)
        if before:  # while the run is still whole
            applied(changed.built_rules, before.stage("pairs"), before.signals)
        was = ledger_of(before) if before else None
        made = flow.run(changed, folder, make_pairs=lambda store, _: _stored(store, before))
    return Retuned(made, None if was is None else diff_of(was, ledger_of(made)))


def _check(old: Recipe, new: Recipe) -> None:
    plain = {name: resolved(recipe) for name, recipe in (("old", old), ("new", new))}
    other = [name for name in BEFORE_SIGNALS if plain["old"].get(name) != plain["new"].get(name)]
    if other:
        raise RecipeError(f"{other[0]} decides what the pairs are; to change it, run the recipe again (curate run)")


def _unfinished(folder: Path) -> Recipe:
    """Return the recipe of an interrupted call. Raise InputError unless its pairs were read and are all there."""
    if not (folder / RECIPE).is_file() or not (folder / STAGES / "pairs" / "key").is_file():
        open_run(folder)  # raises
    recipe = load_recipe(folder / RECIPE)
    if recipe.asks_models:
        raise InputError(f"{folder} contains an unfinished run; curate run {folder / RECIPE} -o {folder} finishes it")
    return recipe


def _stored(store: Store, before: Run | None) -> flow.GeneratedPairs:
    """Return the stored pairs, and the stages before them. Raise InputError if one is damaged."""
    if before is None:
        key = (store.folder / STAGES / "pairs" / "key").read_text("ascii")
        return flow.GeneratedPairs(_whole(store, "pairs", key))
    keys = {name: stage.key for name, stage in before.manifest.stages.items() if name not in AFTER_PAIRS}
    stages = {name: _whole(store, name, key) for name, key in keys.items()}
    return flow.GeneratedPairs(stages.pop("pairs"), stages, before.manifest.generation)


def _whole(store: Store, name: str, key: str) -> Any:
    stage = store.stage(name, key)
    if stage.info is None:
        raise InputError(f"{stage.folder} is incomplete or damaged; run the recipe again (curate run)")
    return stage
