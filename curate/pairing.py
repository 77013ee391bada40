"""Pairing: scored answers → pairs. Decides which answers of a set form a pair, or gives the reason why none do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from curate.errors import RecipeError, unknown
from curate.schema import CANDIDATES, COMPLETE, STAGED, canonical, check, digest, with_ids

# The reasons why a set of answers yields no pair, in the order in which they are checked.
ABOUT = {
    "no_answer": "no model gave an answer",
    "one_answer": "there are no two different answers to compare",
    "cut_off": "fewer than two different answers are complete: others were cut off, filtered, or end in a tool call",
    "not_judged": "fewer than two different answers have a score",
    "no_on_policy": "fewer than two different answers are from the model to be trained",
    "missing_model": "fewer than two of the models in `order` answered",
    "chosen_below_floor": "the best score is below min_chosen_score",
    "tie": "all answers have the same score",
    "below_margin": "no answer that can be chosen leads another one by min_margin",
}
# The ledger's stage for each reason.
STAGES = dict.fromkeys(ABOUT, "pair") | {"no_answer": "generate", "cut_off": "generate", "not_judged": "judge"}

# Rounding errors: 4.6 - 3.6 is slightly less than 1, and two means of equal ratings may differ slightly.
TOLERANCE = 1e-9
RESPONSES = ("chosen", "rejected")
PROVENANCE = ("candidate_id", "finish_reason", "params", "scores", "reason")  # of each side, in `extra`


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of the recipe."""

    strategy: str
    min_margin: float
    min_chosen_score: float | None
    near: float
    length_matched: bool
    order: tuple[str, ...]
    salt: str
    cut_off: str

    def wins(self, lead: pl.Expr) -> pl.Expr:
        """Return whether a lead is positive and at least `min_margin`."""
        return (lead > TOLERANCE) & (lead >= self.min_margin - TOLERANCE)

    def good(self) -> pl.Expr:
        """Return whether an answer can be chosen: it is complete, and its score reaches `min_chosen_score`."""
        floor = pl.lit(self.min_chosen_score, pl.Float64) - TOLERANCE
        return pl.col("complete") & (floor.is_null() | (pl.col("score") >= floor))

    def equals(self, picked: str) -> pl.Expr:
        """Return whether the score of an answer counts as equal to that in the column `picked`."""
        return (pl.col("score") - pl.col(picked)).abs() <= self.near + TOLERANCE


def pair(  # noqa: PLR0913 - the recipe's section
    candidates: pl.DataFrame,
    *,
    strategy: str = "max_min",
    min_margin: float = 0.0,
    min_chosen_score: float | None = None,
    near: float = 0.0,
    length_matched: bool = False,
    order: Sequence[str] = (),
    max_pairs: int | None = None,
    salt: str = "prefcurate",
    cut_off: str = "drop",
) -> pl.DataFrame:
    """
    Form preference pairs from the scored answers of each set.

    in : CANDIDATES; the answers of a set share (source, source_row) and need not be adjacent
    out: STAGED: one row per pair, the best of a set first, or one row with `problem` and `detail` for a set without one

    Sets are in the order of their first answers. Chosen leads by more than 0 and at least `min_margin`, with a
    tolerance of 1e-9. Of equal scores the first answer is used. A null, NaN or infinite score means "not judged".
    Answers with the same messages are never paired. An answer whose `finish_reason` is not one of a complete answer
    (length, content_filter, tool_calls, error, …) is never chosen, and rejected only with `cut_off="rejected"`: a pair
    with a cut answer teaches length. The strategies:

    max_min: the highest score over the lowest. best_of_on_policy: the same, among answers with `on_policy` only.
    max_random_lower: the highest over a random lower one, by a hash of `salt` and candidate_id (arXiv 2411.15124).
    sweet_spot: the highest over the one nearest to mean - 2 std of the set (arXiv 2502.16825); for fewer than about
    five answers that is the lowest.
    all: every two answers, the greatest lead first, up to `max_pairs`.
    delta: without scores (arXiv 2507.06187). Of the models in `order`, the first that answered over the last that
    answered: its k-th answer over the other's k-th, up to `max_pairs`. Margin and floor are ignored.

    `length_matched` (not for all and delta): answers within `near` of the score of chosen count as equal to it, and
    likewise for rejected. Of these, the two closest in length form the pair if chosen still leads by the margin.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    models = tuple(dict.fromkeys(order))
    if strategy == "delta" and len(models) < 2:
        raise RecipeError(f"pair.order: delta needs at least two models, the strongest first; found {list(models)}")
    settings = _Settings(strategy, min_margin, min_chosen_score, near, length_matched, models, salt, cut_off)
    candidates = check(candidates, CANDIDATES, "candidates")
    answers = _answers(candidates)
    pool = _pool(answers, settings)
    picks = STRATEGIES[strategy](pool, settings).select("set", *RESPONSES)
    if max_pairs is not None:
        picks = picks.filter(pl.int_range(pl.len()).over("set") < max_pairs)
    problems = _problems(answers.join(picks, on="set", how="anti"), pool, settings)
    outcome = pl.concat([picks, problems], how="diagonal").sort("set", maintain_order=True)
    return _staged(candidates.with_columns(answers.get_column("score")), outcome, strategy)


def _answers(candidates: pl.DataFrame) -> pl.DataFrame:
    """Return one row per candidate, with numbers in place of texts; `set` is the row of its set's first answer."""
    score, text, last = pl.col("score"), canonical("response"), pl.col("response").list.last()
    return candidates.with_row_index("row").select(
        "row",
        *("candidate_id", "model", "error"),
        pl.col("on_policy").fill_null(value=False),
        set=pl.col("row").first().over("source", "source_row"),
        # A hash of the messages, of which 64 bits are ample within a set; null = no answer.
        text=pl.when(text.str.len_bytes() > 0).then(text.hash()),
        chars=last.struct.field("content").str.len_chars().fill_null(0).cast(pl.Int64),
        score=pl.when(score.is_finite()).then(score),
        complete=pl.col("finish_reason").str.to_lowercase().is_in(COMPLETE).fill_null(value=True),
        finish=pl.col("finish_reason"),
    )


def _pool(answers: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
    """Return the answers that can be in a pair, with `lead`: the score minus that of the worst different answer."""
    score, text, is_worst = pl.col("score"), pl.col("text"), pl.col("text") == pl.col("worst")
    usable = answers.filter(text.is_not_null(), pl.col("complete") | (settings.cut_off == "rejected"))
    if settings.strategy == "delta":
        return usable.with_columns(lead=pl.lit(None, pl.Float64))
    return (
        usable.filter(score.is_not_null(), pl.col("on_policy") | (settings.strategy != "best_of_on_policy"))
        .with_columns(worst=text.get(score.arg_min()).over("set"))
        .with_columns(others=score.filter(~is_worst).min().over("set"))
        .with_columns(lead=score - pl.when(is_worst).then("others").otherwise(score.min().over("set")))
    )


def _best_over(pool: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
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


def _place(settings: _Settings) -> pl.Expr:
    """Return the sort key by which the first of the answers that the best one beats is rejected."""
    score = pl.col("score")
    if settings.strategy == "max_random_lower":
        return digest(pl.concat_str(pl.lit(settings.salt), pl.lit("|"), pl.col("candidate_id")))
    if settings.strategy == "sweet_spot":
        return (score - score.mean().over("set") + 2 * score.std(ddof=0).over("set")).abs()
    return score


def _closest_in_length(pool: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
    """Return the two answers closest in length, among those that count as equal to the picked chosen and rejected."""
    chosen = pool.filter(settings.good(), settings.equals("chosen_score"))
    both = _crossed(chosen, pool.filter(settings.equals("rejected_score")), settings)
    difference = (pl.col("chars") - pl.col("chars_right")).abs()
    return both.sort("set", difference, "chosen", "rejected").unique("set", keep="first", maintain_order=True)


def _every(pool: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
    both = _crossed(pool.filter(settings.good()), pool, settings)
    return both.sort("set", "lead", "chosen", "rejected", descending=[False, True, False, False])


def _crossed(chosen: pl.DataFrame, rejected: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
    """Return each answer in `chosen` with each in `rejected` that it beats, in no particular order."""
    left, right = (side.lazy().select("set", "row", "score", "text", "chars") for side in (chosen, rejected))
    both = left.join(right, on="set").with_columns(lead=pl.col("score") - pl.col("score_right"))
    beaten = both.filter(settings.wins(pl.col("lead")), pl.col("text") != pl.col("text_right"))
    # Streamed, because combinations are quadratic in the answers and most are filtered out.
    return beaten.rename({"row": "chosen", "row_right": "rejected"}).collect(engine="streaming")


def _delta(pool: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
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
STRATEGIES: dict[str, Callable[[pl.DataFrame, _Settings], pl.DataFrame]] = {
    "max_min": _best_over,
    "max_random_lower": _best_over,
    "sweet_spot": _best_over,
    "all": _every,
    "best_of_on_policy": _best_over,
    "delta": _delta,
}


def _problems(answers: pl.DataFrame, pool: pl.DataFrame, settings: _Settings) -> pl.DataFrame:
    """Return set, problem and detail of the sets that yield no pair; counts are of different answers."""
    text, model = pl.col("text"), pl.col("model")
    pairable = pl.col("complete") | (settings.cut_off == "rejected")
    models = model.filter(pairable, text.is_not_null(), model.is_in(settings.order)).unique(maintain_order=True)
    counts = answers.group_by("set").agg(
        answers=pl.len(),
        usable=text.count(),
        different=text.drop_nulls().n_unique(),
        complete=text.filter("complete").drop_nulls().n_unique(),
        cut=pl.col("finish").filter(~pl.col("complete")).unique().sort().str.join(", "),
        judged=text.filter(pairable, pl.col("score").is_not_null()).drop_nulls().n_unique(),
        own=text.filter(pairable, "on_policy").drop_nulls().n_unique(),
        own_judged=text.filter(pairable, "on_policy", pl.col("score").is_not_null()).drop_nulls().n_unique(),
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


def _reasons(settings: _Settings) -> list[tuple[str, pl.Expr, pl.Expr]]:
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


def _staged(candidates: pl.DataFrame, outcome: pl.DataFrame, strategy: str) -> pl.DataFrame:
    """Convert set, chosen, rejected (rows of the candidates), problem and detail to STAGED, row by row."""

    def gathered(column: str, row: str) -> pl.Series:
        return candidates.get_column(column).gather(outcome.get_column(row))

    sides = [(side, name) for side in RESPONSES for name in (*PROVENANCE, "response", "score", "model", "judge")]
    frame = outcome.select("problem", "detail").with_columns(
        *(gathered(name, "set") for name in ("source", "source_row", "prompt")),
        *(gathered(name, side).alias(f"{side}_{name}") for side, name in sides),
    )
    frame = with_ids(frame.rename({"chosen_response": "chosen", "rejected_response": "rejected"}))
    provenance = pl.struct(
        pl.lit(strategy).alias("strategy"),
        pl.coalesce("chosen_judge", "rejected_judge").alias("judge"),
        *(f"{side}_{name}" for side, name in sides if name in PROVENANCE),
    )
    is_pair = pl.col("problem").is_null()
    frame = frame.with_columns(
        *(pl.when(is_pair).then(name) for name in ("pair_id", "prompt_id", "flipped_id")),
        extra=pl.when(is_pair).then(provenance.struct.json_encode()),
        strength=pl.lit(None, pl.Float64),
    )
    return check(frame, STAGED, "pairs")
