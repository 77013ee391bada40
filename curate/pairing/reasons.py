"""Why a set of answers yields no pair."""

import polars as pl

from curate.pairing.settings import TOLERANCE, Settings

# The reasons why a set of answers yields no pair, in the order in which they are checked.
ABOUT = {
    "no_answer": "no model gave an answer",
    "one_answer": "there are no two different answers to compare",
    "cut_off": "fewer than two different answers are complete: others were cut off, filtered, or end in a tool call",
    "off_policy": "fewer than two different answers reach min_logp_per_token under the model to be trained",
    "not_judged": "fewer than two different answers have a score",
    "no_on_policy": "fewer than two different answers are from the model to be trained",
    "missing_model": "fewer than two of the models in `order` answered",
    "chosen_below_floor": "the best score is below min_chosen_score",
    "tie": "all answers have the same score",
    "below_margin": "no answer that can be chosen leads another one by min_margin",
}
# The ledger's stage for each reason.
STAGES = dict.fromkeys(ABOUT, "pair") | {"no_answer": "generate", "cut_off": "generate", "not_judged": "judge"}


def problems_of(answers: pl.DataFrame, pool: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return set, problem and detail of the sets that yield no pair; counts are of different answers."""
    text, model = pl.col("text"), pl.col("model")
    usable = pl.col("pairable")
    models = model.filter(usable, text.is_not_null(), model.is_in(settings.order)).unique(maintain_order=True)
    counts = answers.group_by("set").agg(
        answers=pl.len(),
        usable=text.count(),
        different=text.drop_nulls().n_unique(),
        complete=text.filter("complete").drop_nulls().n_unique(),
        cut=pl.col("finish").filter(~pl.col("complete")).unique().sort().str.join(", "),
        pairable=text.filter(usable).drop_nulls().n_unique(),
        judged=text.filter(usable, pl.col("score").is_not_null()).drop_nulls().n_unique(),
        own=text.filter(usable, "on_policy").drop_nulls().n_unique(),
        own_judged=text.filter(usable, "on_policy", pl.col("score").is_not_null()).drop_nulls().n_unique(),
        models=models.len(),
        names=models.str.join(", "),
        error=pl.col("error").filter(text.is_null()).drop_nulls().mode(maintain_order=True).first(),
    )
    scores = pool.group_by("set").agg(
        top=pl.col("score").max(),
        best=pl.col("score").filter("complete").max(),
        worst=pl.col("score").min(),
        lead=pl.col("lead").filter(settings.good()).max(),
    )
    reasons = (pl.when(holds).then(pl.struct(problem=pl.lit(r), detail=text)) for r, holds, text in _reasons(settings))
    return counts.join(scores, on="set", how="left").select("set", why=pl.coalesce(*reasons)).unnest("why")


def _reasons(settings: Settings) -> list[tuple[str, pl.Expr, pl.Expr]]:
    """Return (reason, condition, detail) in order: the first condition that holds counts, and the last always holds."""
    usable, different, judged, own, models = (
        pl.col(name) for name in ("usable", "different", "judged", "own", "models")
    )
    always, best, worst, lead = pl.lit(value=True), pl.col("best"), pl.col("worst"), pl.col("lead")
    compared = pl.format("usable {} of {}, different {}", usable, "answers", different)
    whole = pl.col("complete") < (1 if settings.cut_off == "rejected" else 2)
    reasons = [
        ("no_answer", usable == 0, pl.coalesce("error", pl.lit("no error is given"))),
        ("one_answer", different < 2, compared),
        ("cut_off", whole, pl.format("complete {} of {} different; others: {}", "complete", different, "cut")),
        ("off_policy", pl.col("pairable") < 2, pl.format("likely enough {} of {}", "pairable", different)),
    ]
    if settings.strategy == "delta":
        missing = pl.format("answered: {}", pl.col("names").replace("", "none"))
        same = pl.format("the same answers: {}", "names")
        return [*reasons, ("missing_model", models < 2, missing), ("one_answer", always, same)]
    unjudged, on_policy = judged < 2, settings.strategy == "best_of_on_policy"
    if on_policy:  # its two answers must be judged as well
        unjudged |= (own > 1) & (pl.col("own_judged") < 2)
    floor, margin = (pl.lit(bound, pl.Float64) for bound in (settings.min_chosen_score, settings.min_margin))
    return [
        *reasons,
        ("not_judged", unjudged, pl.format("judged {} of {}", judged, different)),
        ("no_on_policy", pl.lit(on_policy) & (own < 2), pl.format("on policy {} of {}", own, different)),
        ("chosen_below_floor", best < floor - TOLERANCE, pl.format("best {}, min_chosen_score {}", best, floor)),
        ("tie", pl.col("top") - worst <= TOLERANCE, pl.format("best {}, worst {}", best, worst)),
        ("below_margin", always, pl.format("best {}, worst {}, lead {}, min_margin {}", best, worst, lead, margin)),
    ]
