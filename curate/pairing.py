"""Answers with scores → pairs: which two answers of a set are compared, or the reason why none are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from curate.errors import RecipeError, unknown
from curate.schema import CANDIDATES, STAGED, canonical, check, digest, with_ids

# Why a set of answers yields no pair, in the order in which it is asked.
ABOUT = {
    "no_answer": "no model gave an answer",
    "one_answer": "there are no two different answers to compare",
    "not_judged": "fewer than two different answers have a score",
    "no_on_policy": "fewer than two different answers are of the model that is to be trained",
    "missing_model": "fewer than two of the models in `order` answered",
    "chosen_below_floor": "the best answer is not good enough to be chosen",
    "tie": "all answers have the same score",
    "below_margin": "no answer that may be chosen leads another one by the margin asked for",
}
# The ledger's stage for each of them.
STAGES = dict.fromkeys(ABOUT, "pair") | {"no_answer": "generate", "not_judged": "judge"}

# What adding and dividing may lose: 4.6 - 3.6 is a hair less than 1, and two means of equal ratings may differ by one.
HAIR = 1e-9
SIDES = ("chosen", "rejected")
TOLD = ("candidate_id", "finish_reason", "params", "scores", "reason")  # of each side, in `extra`


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the recipe asks for."""

    strategy: str
    min_margin: float
    min_chosen_score: float | None
    near: float
    length_matched: bool
    order: tuple[str, ...]
    salt: str

    def wins(self, lead: pl.Expr) -> pl.Expr:
        """Whether a lead is one at all, and large enough."""
        return (lead > HAIR) & (lead >= self.min_margin - HAIR)

    def good(self) -> pl.Expr:
        """Whether an answer may be chosen, whatever the others are."""
        return pl.lit(self.min_chosen_score is None) | (pl.col("score") >= (self.min_chosen_score or 0.0) - HAIR)

    def close(self, picked: str) -> pl.Expr:
        """Whether an answer counts as the equal of the one picked."""
        return (pl.col("score") - pl.col(picked)).abs() <= self.near + HAIR


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
) -> pl.DataFrame:
    """
    in : CANDIDATES; the answers of a set share (source, source_row) and need not stand together
    out: STAGED: a row for each pair, the best first, and one with `problem` and `detail` for a set that yields none

    Sets come in the order of their first answers. Chosen leads by more than 0 and by `min_margin`, where 1e-9 is
    rounding. Of equal scores the first answer counts. A null, NaN or infinite score means "not judged". Answers with
    the same messages are never paired with each other. The strategies:

    max_min: the highest score against the lowest. best_of_on_policy: the same, among answers with `on_policy` only.
    max_random_lower: the highest against any lower one, drawn by a hash of `salt` and candidate_id (arXiv 2411.15124).
    sweet_spot: the highest against the one nearest to mean - 2 std of the set (arXiv 2502.16825); of fewer than about
    five answers that is the lowest.
    all: every two answers, the greatest lead first, `max_pairs` of them.
    delta: no scores (arXiv 2507.06187). Of the models in `order` the first that answered, over the last that answered:
    its k-th answer over the k-th of the other, `max_pairs` of them. Scores may be null, margin and floor do not count.

    `length_matched` (not for all and delta): answers within `near` of the picked chosen's score count as its equals,
    likewise for rejected. Of them the two closest in length are taken, where chosen still leads as it must.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    models = tuple(dict.fromkeys(order))
    if strategy == "delta" and len(models) < 2:
        raise RecipeError(f"pair.order: delta needs two models or more, the strongest first; found {list(models)}")
    wanted = _Wanted(strategy, min_margin, min_chosen_score, near, length_matched, models, salt)
    candidates = check(candidates, CANDIDATES, "candidates")
    answers = _answers(candidates)
    pool = _pool(answers, wanted)
    picks = STRATEGIES[strategy](pool, wanted).select("set", *SIDES)
    if max_pairs is not None:
        picks = picks.filter(pl.int_range(pl.len()).over("set") < max_pairs)
    problems = _problems(answers.join(picks, on="set", how="anti"), pool, wanted)
    outcome = pl.concat([picks, problems], how="diagonal").sort("set", maintain_order=True)
    return _staged(candidates.with_columns(answers.get_column("score")), outcome, strategy)


def _answers(candidates: pl.DataFrame) -> pl.DataFrame:
    """One row a candidate, with numbers in place of texts; `set` is the row of the first answer of its set."""
    score, text, last = pl.col("score"), canonical("response"), pl.col("response").list.last()
    return candidates.with_row_index("row").select(
        "row",
        *("candidate_id", "model", "error"),
        pl.col("on_policy").fill_null(value=False),
        set=pl.col("row").first().over("source", "source_row"),
        # Equal for equal messages, for which 64 bits are plenty within a set; null = there is no answer.
        text=pl.when(text.str.len_bytes() > 0).then(text.hash()),
        chars=last.struct.field("content").str.len_chars().fill_null(0).cast(pl.Int64),
        score=pl.when(score.is_finite()).then(score),
    )


def _pool(answers: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """The answers that may be in a pair, with `lead`: how far each is above the worst that says something else."""
    score, text, is_worst = pl.col("score"), pl.col("text"), pl.col("text") == pl.col("worst")
    usable = answers.filter(text.is_not_null())
    if wanted.strategy == "delta":
        return usable.with_columns(lead=pl.lit(None, pl.Float64))
    return (
        usable.filter(score.is_not_null(), pl.col("on_policy") | (wanted.strategy != "best_of_on_policy"))
        .with_columns(worst=text.get(score.arg_min()).over("set"))
        .with_columns(others=score.filter(~is_worst).min().over("set"))
        .with_columns(lead=score - pl.when(is_worst).then("others").otherwise(score.min().over("set")))
    )


def _best_over(pool: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """One pair a set: the best answer that beats any, over the first of those it beats in the strategy's order."""
    best = (
        pool.filter(wanted.good(), wanted.wins(pl.col("lead")))
        .sort("set", "score", "row", descending=[False, True, False])
        .unique("set", keep="first", maintain_order=True)
        .select("set", chosen="row", chosen_score="score", chosen_text="text")
    )
    picks = (
        pool.with_columns(place=_place(wanted))
        .join(best, on="set")
        .filter(pl.col("text") != pl.col("chosen_text"), wanted.wins(pl.col("chosen_score") - pl.col("score")))
        .sort("set", "place", "row")
        .unique("set", keep="first", maintain_order=True)
        .select("set", "chosen", "chosen_score", rejected="row", rejected_score="score")
    )
    return _closest_in_length(pool.join(picks, on="set"), wanted) if wanted.length_matched else picks


def _place(wanted: _Wanted) -> pl.Expr:
    """Of the answers that the best one beats, the lowest by this number or text is rejected."""
    score = pl.col("score")
    if wanted.strategy == "max_random_lower":
        return digest(pl.concat_str(pl.lit(wanted.salt), pl.lit("|"), pl.col("candidate_id")))
    if wanted.strategy == "sweet_spot":
        return (score - score.mean().over("set") + 2 * score.std(ddof=0).over("set")).abs()
    return score


def _closest_in_length(pool: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """Of the equals of each side the two closest in length; those that were picked are among them."""
    chosen = pool.filter(wanted.good(), wanted.close("chosen_score"))
    both = _crossed(chosen, pool.filter(wanted.close("rejected_score")), wanted)
    apart = (pl.col("chars") - pl.col("chars_right")).abs()
    return both.sort("set", apart, "chosen", "rejected").unique("set", keep="first", maintain_order=True)


def _every(pool: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    both = _crossed(pool.filter(wanted.good()), pool, wanted)
    return both.sort("set", "lead", "chosen", "rejected", descending=[False, True, False, False])


def _crossed(chosen: pl.DataFrame, rejected: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """Each answer of the one frame with each of the other that it beats, in no order."""
    left, right = (side.lazy().select("set", "row", "score", "text", "chars") for side in (chosen, rejected))
    both = left.join(right, on="set").with_columns(lead=pl.col("score") - pl.col("score_right"))
    beaten = both.filter(wanted.wins(pl.col("lead")), pl.col("text") != pl.col("text_right"))
    # Streamed, as there are as many combinations as the square of the answers, and most are filtered out.
    return beaten.rename({"row": "chosen", "row_right": "rejected"}).collect(engine="streaming")


def _delta(pool: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """Pairs of the strongest and the weakest model that answered: their first answers, their second ones, …"""
    place = pl.col("model").replace_strict({name: i for i, name in enumerate(wanted.order)}, default=None)
    ranked = pool.select("set", "row", "text", place=place).drop_nulls()
    ranked = ranked.with_columns(nth=pl.int_range(pl.len()).over("set", "place"))
    strongest, weakest = pl.col("place").min().over("set"), pl.col("place").max().over("set")
    strong, weak = (ranked.filter(pl.col("place") == end) for end in (strongest, weakest))
    # Where only one of the models answered, this sets its answers against themselves.
    different = strong.join(weak, on=["set", "nth"]).filter(pl.col("text") != pl.col("text_right"))
    return different.sort("set", "nth").rename({"row": "chosen", "row_right": "rejected"})


# From the pool to set, chosen, rejected (both rows of the candidates), the best of a set first.
STRATEGIES: dict[str, Callable[[pl.DataFrame, _Wanted], pl.DataFrame]] = {
    "max_min": _best_over,
    "max_random_lower": _best_over,
    "sweet_spot": _best_over,
    "all": _every,
    "best_of_on_policy": _best_over,
    "delta": _delta,
}


def _problems(answers: pl.DataFrame, pool: pl.DataFrame, wanted: _Wanted) -> pl.DataFrame:
    """Set, problem and detail of the sets that yield no pair; what is counted is different answers."""
    text, model = pl.col("text"), pl.col("model")
    models = model.filter(text.is_not_null() & model.is_in(wanted.order)).unique(maintain_order=True)
    counts = answers.group_by("set").agg(
        answers=pl.len(),
        usable=text.count(),
        different=text.drop_nulls().n_unique(),
        judged=text.filter(pl.col("score").is_not_null()).drop_nulls().n_unique(),
        own=text.filter("on_policy").drop_nulls().n_unique(),
        models=models.len(),
        names=models.str.join(", "),
        error=pl.col("error").filter(text.is_null()).drop_nulls().mode(maintain_order=True).first(),
    )
    scores = pool.group_by("set").agg(
        pool=text.n_unique(),
        best=pl.col("score").max(),
        worst=pl.col("score").min(),
        lead=pl.col("lead").filter(wanted.good()).max(),
    )
    reasons = (pl.when(holds).then(pl.struct(problem=pl.lit(r), detail=text)) for r, holds, text in _reasons(wanted))
    return counts.join(scores, on="set", how="left").select("set", why=pl.coalesce(*reasons)).unnest("why")


def _reasons(wanted: _Wanted) -> list[tuple[str, pl.Expr, pl.Expr]]:
    """Reason, whether it holds, and its numbers. The first one counts; the last always holds: no set falls through."""
    usable, different, judged, own, models = (
        pl.col(name) for name in ("usable", "different", "judged", "own", "models")
    )
    always, best, worst, lead = pl.lit(value=True), pl.col("best"), pl.col("worst"), pl.col("lead")
    compared = pl.format("usable {} of {}, different {}", usable, "answers", different)
    reasons = [
        ("no_answer", usable == 0, pl.coalesce("error", pl.lit("no error is given"))),
        ("one_answer", different < 2, compared),
    ]
    if wanted.strategy == "delta":
        missing = pl.format("answered: {}", pl.col("names").replace("", "none"))
        same = pl.format("the same answers: {}", "names")
        return [*reasons, ("missing_model", models < 2, missing), ("one_answer", always, same)]
    unjudged, on_policy = judged < 2, wanted.strategy == "best_of_on_policy"
    if on_policy:  # two answers of its own, too, must be judged
        unjudged |= (own > 1) & (pl.col("pool").fill_null(0) < 2)
    floor, margin = (pl.lit(bound, pl.Float64) for bound in (wanted.min_chosen_score, wanted.min_margin))
    return [
        *reasons,
        ("not_judged", unjudged, pl.format("judged {} of {}", judged, different)),
        ("no_on_policy", pl.lit(on_policy) & (own < 2), pl.format("on policy {} of {}", own, different)),
        ("chosen_below_floor", best < floor - HAIR, pl.format("best {}, min_chosen_score {}", best, floor)),
        ("tie", best - worst <= HAIR, pl.format("best {}, worst {}", best, worst)),
        ("below_margin", always, pl.format("best {}, worst {}, lead {}, min_margin {}", best, worst, lead, margin)),
    ]


def _staged(candidates: pl.DataFrame, outcome: pl.DataFrame, strategy: str) -> pl.DataFrame:
    """Set, chosen, rejected (rows of the candidates), problem and detail → STAGED, row for row."""

    def taken(column: str, row: str) -> pl.Series:
        return candidates.get_column(column).gather(outcome.get_column(row))

    sides = [(side, name) for side in SIDES for name in (*TOLD, "response", "score", "model", "judge")]
    frame = outcome.select("problem", "detail").with_columns(
        *(taken(name, "set") for name in ("source", "source_row", "prompt")),
        *(taken(name, side).alias(f"{side}_{name}") for side, name in sides),
    )
    frame = with_ids(frame.rename({"chosen_response": "chosen", "rejected_response": "rejected"}))
    told = pl.struct(
        pl.lit(strategy).alias("strategy"),
        pl.coalesce("chosen_judge", "rejected_judge").alias("judge"),
        *(f"{side}_{name}" for side, name in sides if name in TOLD),
    )
    is_pair = pl.col("problem").is_null()
    frame = frame.with_columns(
        *(pl.when(is_pair).then(name) for name in ("pair_id", "prompt_id", "flipped_id")),
        extra=pl.when(is_pair).then(told.struct.json_encode()),
        strength=pl.lit(None, pl.Float64),
    )
    return check(frame, STAGED, "pairs")
