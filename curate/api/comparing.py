"""Looking ahead and back: what other rules would keep, and how two runs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import polars as pl
import yaml

from curate.errors import InputError, RecipeError, shortened
from curate.files import TextKeys, parse_yaml
from curate.recipe.load import as_recipe, resolved
from curate.rundir.result import Run, RunLike, opened
from curate.rundir.stage import Stage
from curate.rundir.store import STAGES
from curate.schema.result import html_table
from curate.stages.measure import applied
from curate.text.messages import last_user_text, text_of

MOST = 1_000  # combinations of values
KEY = ("source", "source_row", "pair_id")
SIDES = ("before", "after")
SAMPLE_CHARS = 500  # of a text


def preview(run: RunLike, settings: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """
    Tell what other rules would keep, from a run's stored signals; nothing is written or measured.

    Parameters
    ----------
    run
        A `Run`, or its folder.
    settings
        Values to try by key: `{"rules.min_strength": [0.2, 0.5, 0.8]}`. With several keys, every combination.

    Returns
    -------
    One row per combination: a column per key (the value as text), and counts (u32) of the rows that became pairs:
    `passing` and `dropped` by rules in all, and compared with the run's rules `newly_dropped` and `newly_passing`. What
    comes after the rules (duplicates, eval items, selection) is not repeated.

    Raises
    ------
    RecipeError for a key outside of `rules`, an unknown rule or a wrong value; InputError for a pulled run, which has
    no signals.

    Examples
    --------
    >>> import curate, tempfile
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green. " * n, "rejected": "No idea."} for n in range(1, 5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = curate.clean(rows, out=folder, settings=["split.test=0"])
    ...     table = curate.preview(run, {"rules.max_chosen_chars": [10, 20]})
    >>> table.select("passing", "newly_dropped").rows()
    [(1, 2), (2, 1)]
    """
    run = opened(run)
    for key in settings:
        if not key.startswith("rules."):
            raise RecipeError(f"{key}: only rules can be looked at ahead, as in rules.min_strength=0.2,0.5")
    values = [[(key, value) for value in each] for key, each in settings.items()]
    tried = list(product(*values))
    if not settings or not tried or len(tried) > MOST:
        raise RecipeError(f"{len(tried) if settings else 0:,} combinations of values; expected 1 to {MOST:,}")
    pairs, signals, rules = run.stage("pairs"), run.signals, run.stage("rules")
    usable = pairs.scan().select(pl.col("problem").is_null()).collect().to_series()
    passed = rules.scan().select(pl.col("rule").is_null()).collect().to_series()
    rows = []
    for combination in tried:
        tree = resolved(run.recipe)
        for key, value in combination:
            tree["rules"][key.removeprefix("rules.")] = value
        would = _passing(as_recipe({**tree, "origin": None}).built_rules, pairs, signals)
        rows.append(
            {key: str(value) for key, value in combination}
            | {
                "passing": int((would & usable).sum()),
                "dropped": int((~would & usable).sum()),
                "newly_dropped": int((passed & ~would & usable).sum()),
                "newly_passing": int((~passed & would & usable).sum()),
            }
        )
    counts = {name: pl.UInt32() for name in ("passing", "dropped", "newly_dropped", "newly_passing")}
    return pl.DataFrame(rows, schema={**dict.fromkeys(settings, pl.String()), **counts})


def values_of(text: str) -> tuple[str, list[Any]]:
    """Return key and values of `rules.min_strength=0.2,0.5`. Raise RecipeError for anything else."""
    key, _, values = text.partition("=")
    try:
        read = parse_yaml(f"[{values}]", TextKeys)
    except yaml.YAMLError:
        read = None
    if not isinstance(read, list) or not read or not key.strip():
        raise RecipeError(f"{shortened(text)}: expected KEY=VALUE,VALUE, as in rules.min_strength=0.2,0.5")
    return key.strip(), read


def _passing(rules: Sequence[Any], pairs: Stage, signals: Stage) -> pl.Series:
    apply = applied(rules, pairs, signals)
    parts = [apply(number).select(pl.col("rule").is_null()) for number in range(len(pairs.parts()))]
    return pl.concat(parts).to_series()


@dataclass(frozen=True, repr=False)
class Diff:
    """How two runs differ: `rows` that changed, `counts` by change, and `rules`, rows by the first reason in each."""

    rows: pl.DataFrame
    counts: dict[str, int]
    rules: pl.DataFrame

    def __repr__(self) -> str:
        changes = " · ".join(f"{name} {count:,}" for name, count in self.counts.items())
        return f"Diff({changes})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), tuple(self.rules.columns), self.rules.rows())


def diff(before: RunLike, after: RunLike) -> Diff:
    """
    Compare what two runs made of their rows.

    Parameters
    ----------
    before, after
        Two `Run`s, or their folders. Rows are matched by source, row and pair; those of runs without a common source by
        pair alone.

    Returns
    -------
    `Diff`: `rows` (source, source_row, pair_id, change, and kept, split, stage and rule of each run, with `_before` and
    `_after`; not those that are the same), `counts` by change ("now kept", "now dropped", "other split", "other
    reason", "only before", "only after", "same"), `rules` (stage, rule, before, after: rows dropped for it first).

    Raises
    ------
    InputError for a folder that holds no complete run.

    Examples
    --------
    >>> import curate, tempfile
    >>> rows = [{"prompt": f"Tea {n}?", "chosen": "Green. " * n, "rejected": "No idea."} for n in range(1, 5)]
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
    ...     first = curate.clean(rows, out=one, settings=["split.test=0"])
    ...     second = curate.clean(rows, out=two, settings=["split.test=0"], rules={"max_chosen_chars": 10})
    ...     found = curate.diff(first, second)
    >>> found
    Diff(now dropped 3 · same 1)
    """
    return diff_of(ledger_of(opened(before)), ledger_of(opened(after)))


def samples(run: RunLike, found: Diff, count: int = 10) -> pl.DataFrame:
    """
    Return some of the rows that changed, of every change and reason alike, with the beginnings of their texts.

    in : the run that is now, and how it differs from another one
    out: change, reason, source, source_row, pair_id, before, after (split or reason), prompt, chosen, rejected (str)
    """
    reason = pl.coalesce("rule_after", "rule_before", pl.lit(""))
    by_side = [pl.coalesce(f"split_{side}", f"rule_{side}", pl.lit("–")).alias(side) for side in SIDES]
    rows = found.rows.select(*KEY, "change", *by_side, reason=reason)
    place = pl.int_range(pl.len()).over("change", "reason")
    rows = rows.with_columns(place=place).sort("place", "change", "reason", maintain_order=True).head(count)
    return (
        rows.join(
            _texts(opened(run), rows.get_column("pair_id").drop_nulls()),
            on="pair_id",
            how="left",
            maintain_order="left",
        )
        .sort("change", "reason", "place")
        .select("change", "reason", *KEY, *SIDES, "prompt", "chosen", "rejected")
    )


def _texts(run: Run, ids: pl.Series) -> pl.DataFrame:
    """Return pair_id and the beginnings of the texts of some pairs; none for a pulled run, which has no stages."""
    names = ("prompt", "chosen", "rejected")
    if "pairs" not in run.manifest.stages or not (run.folder / STAGES / "pairs").is_dir():
        return pl.DataFrame(schema=dict.fromkeys(("pair_id", *names), pl.String))
    pairs = run.stage("pairs").scan().filter(pl.col("pair_id").is_in(ids.implode())).unique("pair_id")
    texts = (last_user_text("prompt"), text_of("chosen"), text_of("rejected"))
    starts = [text.str.head(SAMPLE_CHARS).alias(name) for name, text in zip(names, texts, strict=True)]
    return pairs.select("pair_id", *starts).collect()


def ledger_of(run: Run) -> pl.DataFrame:
    """Return what is compared of a run's ledger."""
    return run.ledger.select(*KEY, "kept", "split", "stage", "rule").collect()


def diff_of(before: pl.DataFrame, after: pl.DataFrame) -> Diff:
    """Return how two ledgers, of `ledger_of`, differ; see `diff`."""
    frames = {"before": before, "after": after}
    key = _key(*frames.values())
    both = _joined(frames, key)
    kept, was = pl.col("kept_after"), pl.col("kept_before")
    different = {
        "only before": kept.is_null(),
        "only after": was.is_null(),
        "now kept": kept & ~was,
        "now dropped": was & ~kept,
        "other split": pl.col("split_before").ne_missing(pl.col("split_after")),
        "other reason": pl.col("rule_before").ne_missing(pl.col("rule_after")),
    }
    change = pl.lit("same")
    for name, holds in reversed(different.items()):
        change = pl.when(holds).then(pl.lit(name)).otherwise(change)
    both = both.with_columns(change=change)
    found = dict(both.get_column("change").value_counts().iter_rows())
    rows = both.filter(pl.col("change") != "same").select(*KEY, "change", *_sided("kept", "split", "stage", "rule"))
    return Diff(rows, {name: found[name] for name in (*different, "same") if name in found}, _by_rule(frames))


def _key(before: pl.DataFrame, after: pl.DataFrame) -> tuple[str, ...]:
    common = set(before.get_column("source").unique()) & set(after.get_column("source").unique())
    if common:
        return KEY
    if not before.get_column("pair_id").is_in(after.get_column("pair_id").drop_nulls().implode()).any():
        raise InputError("the runs have neither a source nor a pair in common; there is nothing to compare")
    return ("pair_id",)


def _joined(frames: Mapping[str, pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """Return the rows of both ledgers side by side. Rows of the same key are matched in their order."""
    sides = [
        frame.rename({name: f"{name}_{side}" for name in frame.columns if name not in key}).with_columns(
            copy=pl.int_range(pl.len()).over(list(key))
        )
        for side, frame in frames.items()
    ]
    both = sides[0].join(
        sides[1], on=[*key, "copy"], how="full", coalesce=True, nulls_equal=True, maintain_order="left_right"
    )
    missing = [name for name in KEY if name not in key]
    return both.with_columns(pl.coalesce(f"{name}_before", f"{name}_after").alias(name) for name in missing)


def _sided(*names: str) -> list[str]:
    return [f"{name}_{side}" for name in names for side in SIDES]


def _by_rule(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return how many rows each run drops by each first reason, those whose number changes most first."""
    counted = [f.filter(~pl.col("kept")).group_by("stage", "rule").len(side) for side, f in frames.items()]
    both = (
        counted[0]
        .join(counted[1], on=["stage", "rule"], how="full", coalesce=True)
        .with_columns(pl.col(SIDES).fill_null(0))
    )
    moved = (pl.col("after").cast(pl.Int64) - pl.col("before").cast(pl.Int64)).abs()
    return both.sort(moved, "stage", "rule", descending=[True, False, False])
