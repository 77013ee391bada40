"""Which answers of a set form a pair."""

from collections.abc import Callable

import polars as pl

from curate.pairing.settings import Settings
from curate.schema import digest


def pool_of(answers: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return the answers that can be in a pair, with `lead`: the score minus that of the worst different answer."""
    score, text, is_worst = pl.col("score"), pl.col("text"), pl.col("text") == pl.col("worst")
    usable = answers.filter(text.is_not_null(), "pairable")
    if settings.strategy == "delta":
        return usable.with_columns(lead=pl.lit(None, pl.Float64))
    return (
        usable.filter(score.is_not_null(), pl.col("on_policy") | (settings.strategy != "best_of_on_policy"))
        .with_columns(worst=text.get(score.arg_min()).over("set"))
        .with_columns(others=score.filter(~is_worst).min().over("set"))
        .with_columns(lead=score - pl.when(is_worst).then("others").otherwise(score.min().over("set")))
    )


def _best_over(pool: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return one pair per set: the best answer that beats any, over the first that it beats in strategy order."""
    best = (
        pool.filter(settings.good(), settings.wins(pl.col("lead")))
        .sort("set", "score", "row", descending=[False, True, False])
        .unique("set", keep="first", maintain_order=True)
        .select("set", chosen="row", chosen_score="score", chosen_text="text")
    )
    picks = (
        pool.with_columns(place=_place(settings))
        .join(best, on="set")
        .filter(pl.col("text") != pl.col("chosen_text"), settings.wins(pl.col("chosen_score") - pl.col("score")))
        .sort("set", "place", "row")
        .unique("set", keep="first", maintain_order=True)
        .select("set", "chosen", "chosen_score", rejected="row", rejected_score="score")
    )
    return _closest_in_length(pool.join(picks, on="set"), settings) if settings.length_matched else picks


def _place(settings: Settings) -> pl.Expr:
    """Return the sort key by which the first of the answers that the best one beats is rejected."""
    score = pl.col("score")
    if settings.strategy == "max_random_lower":
        return digest(pl.concat_str(pl.lit(settings.salt), pl.lit("|"), pl.col("candidate_id")))
    if settings.strategy == "sweet_spot":
        return (score - score.mean().over("set") + 2 * score.std(ddof=0).over("set")).abs()
    return score


def _closest_in_length(pool: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return the two answers closest in length, among those that count as equal to the picked chosen and rejected."""
    chosen = pool.filter(settings.good(), settings.equals("chosen_score"))
    both = _crossed(chosen, pool.filter(settings.equals("rejected_score")), settings)
    difference = (pl.col("chars") - pl.col("chars_right")).abs()
    return both.sort("set", difference, "chosen", "rejected").unique("set", keep="first", maintain_order=True)


def _every(pool: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    both = _crossed(pool.filter(settings.good()), pool, settings)
    return both.sort("set", "lead", "chosen", "rejected", descending=[False, True, False, False])


def _crossed(chosen: pl.DataFrame, rejected: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return each answer in `chosen` with each in `rejected` that it beats, in no particular order."""
    left, right = (side.lazy().select("set", "row", "score", "text", "chars") for side in (chosen, rejected))
    both = left.join(right, on="set").with_columns(lead=pl.col("score") - pl.col("score_right"))
    beaten = both.filter(settings.wins(pl.col("lead")), pl.col("text") != pl.col("text_right"))
    # Streamed, because combinations are quadratic in the answers and most are filtered out.
    return beaten.rename({"row": "chosen", "row_right": "rejected"}).collect(engine="streaming")


def _delta(pool: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return pairs of the strongest and the weakest model that answered: first answers, second answers, …"""
    place = pl.col("model").replace_strict({name: i for i, name in enumerate(settings.order)}, default=None)
    ranked = pool.select("set", "row", "text", "complete", place=place).drop_nulls()
    ranked = ranked.with_columns(nth=pl.int_range(pl.len()).over("set", "place"))
    strongest, weakest = pl.col("place").min().over("set"), pl.col("place").max().over("set")
    strong, weak = (ranked.filter(pl.col("place") == end) for end in (strongest, weakest))
    # Where only one of the models answered, its answers are joined with themselves, and filtered out.
    different = strong.filter("complete").join(weak, on=["set", "nth"]).filter(pl.col("text") != pl.col("text_right"))
    return different.sort("set", "nth").rename({"row": "chosen", "row_right": "rejected"})


# Each takes the pool and returns set, chosen, rejected (rows of the candidates), the best pair of a set first.
STRATEGIES: dict[str, Callable[[pl.DataFrame, Settings], pl.DataFrame]] = {
    "max_min": _best_over,
    "max_random_lower": _best_over,
    "sweet_spot": _best_over,
    "all": _every,
    "best_of_on_policy": _best_over,
    "delta": _delta,
}
