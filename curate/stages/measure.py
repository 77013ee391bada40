"""Pairs → signals → verdicts, part by part."""

import polars as pl

from curate import signals as measuring
from curate.recipe.load import Recipe
from curate.rules import apply_rules
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.sources.problems import STAGES
from curate.stages.remaining import each_part


def measure(store: Store, pairs: Stage) -> Stage:
    """Measure the signals of the pairs, row for row."""
    stage = store.stage("signals", fingerprint("signals", measuring.VERSION, pairs.key))
    each_part(
        "signals", pairs, stage, lambda number: measuring.measure(pl.read_parquet(pairs.part(number), glob=False))
    )
    return stage


def decide(store: Store, recipe: Recipe, pairs: Stage, signals: Stage) -> Stage:
    """Apply the rules: signals → verdicts (stage, rule, value, reasons), row for row; a problem counts as the rule."""
    rules = recipe.rules.build()
    stage = store.stage("rules", fingerprint("rules", [repr(rule) for rule in rules], signals.key))

    def verdicts(number: int) -> pl.DataFrame:
        problems = pl.read_parquet(pairs.part(number), columns=["problem", "detail"], glob=False)
        broken = apply_rules(pl.read_parquet(signals.part(number), glob=False), rules)
        usable = pl.col("problem").is_null()
        problem = pl.concat_str("problem", "detail", separator=": ", ignore_nulls=True)
        return pl.concat([problems, broken], how="horizontal").select(
            stage=pl.when(~usable).then(pl.col("problem").replace_strict(STAGES, default="read"))
            .when(pl.col("rule").is_not_null()).then(pl.lit("rules")),
            rule=pl.coalesce("problem", "rule"),
            value=pl.when(usable).then("value"),
            reasons=pl.when(usable).then("reasons").otherwise(pl.concat_list(problem)),
        )  # fmt: skip

    each_part("rules", pairs, stage, verdicts)
    return stage
