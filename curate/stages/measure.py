"""Pairs → signals → verdicts, part by part."""

from collections.abc import Callable, Iterator, Sequence

import polars as pl

from curate import signals as measuring
from curate.errors import CurateError, RecipeError
from curate.findings.label_noise import NOISE
from curate.recipe.load import Recipe
from curate.rules import Rule, Where, apply_rules, field_types, with_conditions
from curate.rundir.stage import Stage
from curate.rundir.store import Store, fingerprint
from curate.schema import PAIR
from curate.signals.own import columns_in_use, fingerprint_in_use
from curate.sources.problems import STAGES
from curate.stages.remaining import each_part

# How the signals of models are measured.
HOW = dict.fromkeys(measuring.scored.ABOUT, "name some in models.reward") | {
    "reward_std": "name two or more in models.reward",
    **dict.fromkeys(("logp", "logp_per_token", "perplexity"), "name one in models.policy"),
    "implicit_gap": "name them in models.policy and models.reference",
    "relevance": "set models.relevance: true",
    **dict.fromkeys(NOISE, "set label_noise: true"),
}


def check_signals(recipe: Recipe) -> None:
    """Raise RecipeError unless the own signals that the recipe names are in use, and models measure what rules need."""
    if missing := [name for name in recipe.signals if name not in columns_in_use()]:
        raise RecipeError(
            f"the recipe names signals of somebody's own ({', '.join(missing)}): pass them with --signals "
            "FILE.py:FUNCTION (from Python: signals=[…])"
        )
    measured = (*(recipe.models.columns if recipe.models else ()), *(NOISE if recipe.label_noise else ()))
    for rule in recipe.built_rules:
        for column in rule.columns if isinstance(rule, Where) else (rule.column,):
            signal = measuring.COLUMNS.get(column)
            if signal is not None and signal.kind == "model" and column not in measured:
                raise RecipeError(f"rules.{rule.name}: only models measure {column}; {HOW[signal.name]}")


def naming_signals(recipe: Recipe) -> Recipe:
    """Return the recipe with the columns of the own signals in use among those that it names."""
    own = columns_in_use()
    return recipe.model_copy(update={"signals": tuple(dict.fromkeys((*recipe.signals, *own)))}) if own else recipe


def measure(store: Store, pairs: Stage, models: Stage | None = None) -> Stage:
    """Measure the signals of the pairs, row for row; those of models are in `models`, if there are any."""
    own, signals = fingerprint_in_use(), list(measuring.SIGNALS.values())
    others = [*([own] if own else []), *([models.key] if models else [])]
    stage = store.stage("signals", fingerprint("signals", measuring.VERSION, pairs.key, *others))

    def measured(number: int) -> list[pl.DataFrame]:
        part = pl.read_parquet(pairs.part(number), glob=False)
        if models:
            part = part.with_columns(pl.read_parquet(models.part(number), glob=False).get_columns())
        try:
            return [measuring.measure(part, signals)]
        except Exception as error:
            if not own or isinstance(error, CurateError):
                raise
            line = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise RecipeError(f"a signal of your own ({', '.join(columns_in_use())}) fails: {line}") from error

    each_part("signals", pairs, [stage], measured, store.engine)
    return stage


def decide(store: Store, recipe: Recipe, pairs: Stage, signals: Stage) -> Stage:
    """Apply the rules: signals → verdicts (stage, rule, value, reasons), row for row; a problem counts as the rule."""
    rules = recipe.built_rules
    stage = store.stage("rules", fingerprint("rules", [repr(rule) for rule in rules], signals.key))
    if stage.info is not None:
        return stage
    apply = applied(rules, pairs, signals)

    def verdicts(number: int) -> list[pl.DataFrame]:
        problems = pl.read_parquet(pairs.part(number), columns=["problem", "detail"], glob=False)
        broken = apply(number)
        usable = pl.col("problem").is_null()
        problem = pl.concat_str("problem", "detail", separator=": ", ignore_nulls=True)
        found = pl.concat([problems, broken], how="horizontal").select(
            stage=pl.when(~usable).then(pl.col("problem").replace_strict(STAGES, default="read"))
            .when(pl.col("rule").is_not_null()).then(pl.lit("rules")),
            rule=pl.coalesce("problem", "rule"),
            value=pl.when(usable).then("value"),
            reasons=pl.when(usable).then("reasons").otherwise(pl.concat_list(problem)),
        )  # fmt: skip
        return [found]

    each_part("rules", pairs, [stage], verdicts, store.engine)
    return stage


def applied(rules: Sequence[Rule | Where], pairs: Stage, signals: Stage) -> Callable[[int], pl.DataFrame]:
    """Return a function of a part's number: what `apply_rules` says of its rows. Raise RecipeError as conditions do."""
    conditions = [rule for rule in rules if isinstance(rule, Where)]

    def fields() -> Iterator[pl.DataFrame]:
        yield from (pl.read_parquet(part, columns=["extra"], glob=False) for part in pairs.parts())

    types = field_types(conditions, fields)

    def apply(number: int) -> pl.DataFrame:
        measured = pl.read_parquet(signals.part(number), glob=False)
        if conditions:
            part = pl.read_parquet(pairs.part(number), columns=list(PAIR), glob=False)
            measured = with_conditions(part, measured, conditions, types)
        return apply_rules(measured, rules)

    return apply
