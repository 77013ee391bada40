"""
Turn verdicts into scores. A verdict is one judge's usable or failed reply about one aspect of an answer, or about two
answers in one order. Results do not depend on the order of verdicts.
"""

import polars as pl

from curate.schema import CANDIDATES, check
from pipelines.judges.base import VERDICTS
from pipelines.judges.panel import comparing_methods, shared_scale_methods

SET = ("source", "source_row")  # the answers to one prompt
ANSWER = (*SET, "candidate_id")
JUDGE = ("judge", "method")
SCORED = pl.Schema({name: VERDICTS[name] for name in (*JUDGE, *ANSWER, "score", "reason")})
DIGITS = 9  # of a panel's mean, so that equal scores do not differ by the order of summation


def combine(candidates: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """
    in : CANDIDATES, VERDICTS
    out: the same CANDIDATES with score, scores, reason and judge from these verdicts, null where there is no score

    One judge: the mean over aspects, or over the comparisons with the other answers of the set.
    A panel: the mean over its judges if all share a scale (all by rubric, or all pairwise); otherwise each judge's
    scores are first converted to the share of the set's other answers that it ranks lower (ties count half).
    Within a set the mean is over the same judges for every answer, because a judge missing for one answer would shift
    its mean. If no judge scored all of the answers, only those that every judge scored get a score.
    """
    verdicts = usable(verdicts)
    counted = _comparable(judge_scores(verdicts).filter(pl.col("score").is_not_null()))
    if not _one_scale(verdicts):
        counted = _shares(counted).filter(pl.col("score").is_not_null())
    judged = (
        counted.sort(*JUDGE)
        .group_by(ANSWER)
        .agg(
            score=_panel_mean(pl.col("score")),
            reason=pl.col("reason").drop_nulls().first(),
            judge=pl.col("judge").unique(maintain_order=True).str.join(", "),
        )
        .join(_by_aspect(verdicts, counted), on=ANSWER, how="left", nulls_equal=True)
    )
    bare = check(candidates, CANDIDATES, "candidates").drop("score", "scores", "reason", "judge")
    filled = bare.join(judged, on=ANSWER, how="left", nulls_equal=True, maintain_order="left")
    return check(filled, CANDIDATES, "judged candidates")


def usable(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Return VERDICTS with scores that are not finite and blank reasons set to null."""
    return check(verdicts, VERDICTS, "verdicts").with_columns(
        score=pl.when(pl.col("score").is_finite()).then("score"),
        reason=pl.when(pl.col("reason").str.contains(r"\S")).then("reason"),
    )


def judge_scores(verdicts: pl.DataFrame) -> pl.DataFrame:
    """
    in : VERDICTS
    out: SCORED, one row per judge and answer; the score is null where an aspect has none, or where no comparison counts
    """
    verdicts = usable(verdicts)
    compared = pl.col("method").is_in(comparing_methods())
    return pl.concat([_of_ratings(verdicts.filter(~compared)), _of_comparisons(verdicts.filter(compared))])


def comparisons(verdicts: pl.DataFrame) -> pl.DataFrame:
    """
    in : VERDICTS, of which only comparisons are used
    out: two rows per judge and pair of answers, one from the side of each: candidate_id, other_id,
         result: 1 = candidate_id wins in both orders, 0 = it loses in both, 0.5 = tie, or the orders disagree;
                 null = an order is missing or has no usable reply
         agree: both orders agree; null where result is null | reason: those of both orders, joined
    """
    compared = pl.col("method").is_in(comparing_methods()) & (pl.col("candidate_id") != pl.col("other_id"))
    rows = usable(verdicts).filter(compared).select(*JUDGE, *ANSWER, "other_id", "shown_first", "score", "reason")
    turned = rows.with_columns(
        candidate_id="other_id", other_id="candidate_id", shown_first=~pl.col("shown_first"), score=1 - pl.col("score")
    )
    place = pl.when("shown_first").then(pl.lit("as A: ")).otherwise(pl.lit("as B: "))
    side = (pl.col("score") - 0.5).sign()
    both_orders = (pl.col("score").null_count() == 0) & (pl.col("shown_first").drop_nulls().n_unique() == 2)
    return (
        pl.concat([rows, turned])
        .with_columns(side=side, reason=place + pl.col("reason"))
        .sort(*ANSWER, "other_id", "shown_first", "reason", descending=[*[False] * 4, True, False], nulls_last=True)
        .group_by(*JUDGE, *ANSWER, "other_id", maintain_order=True)
        .agg(
            low=pl.when(both_orders).then(pl.col("side").min()),
            high=pl.when(both_orders).then(pl.col("side").max()),
            reason=pl.col("reason").drop_nulls().unique(maintain_order=True).str.join("\n"),
        )
        .with_columns(agree=pl.col("low") == pl.col("high"))
        .with_columns(
            result=pl.when("agree").then((pl.col("low") + 1) / 2).when(pl.col("agree").not_()).then(0.5),
            reason=pl.when(pl.col("reason") != "").then("reason"),
        )
        .drop("low", "high")
    )


def _of_comparisons(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Average the results; the reason is that of the first comparison that counts and has one."""
    reason = pl.col("reason").filter(pl.col("result").is_not_null()).drop_nulls().first()
    scores = comparisons(verdicts).group_by(*JUDGE, *ANSWER).agg(score=pl.col("result").mean(), reason=reason)
    return scores.match_to_schema(SCORED)


def _of_ratings(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Average over aspects; an aspect that the judge rates for other answers only counts as failed."""
    asked = pl.col("aspect").drop_nulls().n_unique()
    complete = (pl.col("score").null_count() == 0) & (pl.col("aspect").drop_nulls().len() == pl.col("asked").first())
    scores = (
        _aspects(verdicts)
        .with_columns(asked=asked.over(JUDGE))
        .group_by(*JUDGE, *ANSWER)
        .agg(score=pl.when(complete).then(pl.col("score").mean()), reason=pl.col("reason").drop_nulls().first())
    )
    return scores.match_to_schema(SCORED)


def _aspects(verdicts: pl.DataFrame) -> pl.DataFrame:
    """Return one row per judge, answer and aspect, sorted by aspect; repeated ratings are averaged."""
    return (
        verdicts.sort("aspect", "reason", "score", nulls_last=True)
        .group_by(*JUDGE, *ANSWER, "aspect", maintain_order=True)
        .agg(
            score=pl.when(pl.col("score").null_count() == 0).then(pl.col("score").mean()),
            reason=pl.col("reason").drop_nulls().first(),
        )
    )


def _by_aspect(verdicts: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Compute `scores`: per aspect the mean over the judges that count; null where nothing was rated by aspect."""
    rated = _aspects(
        verdicts.filter(pl.col("method").is_in(comparing_methods()).not_() & pl.col("aspect").is_not_null())
    )
    return (
        rated.join(counted, on=[*JUDGE, *ANSWER], how="semi", nulls_equal=True)
        .group_by(*ANSWER, "aspect")
        .agg(_panel_mean(pl.col("score")))
        .sort("aspect")
        .group_by(ANSWER, maintain_order=True)
        .agg(scores=pl.struct("aspect", "score"))
    )


def _panel_mean(score: pl.Expr) -> pl.Expr:
    """Average over a panel; a single judge's score is unchanged."""
    return pl.when(pl.len() > 1).then(score.mean().round(DIGITS)).otherwise(score.first())


def _one_scale(verdicts: pl.DataFrame) -> bool:
    """Return whether scores of all judges may be averaged as they are. Two reward models never share a scale."""
    judges = verdicts.select(JUDGE).unique()
    methods = set(judges.get_column("method"))
    return judges.height <= 1 or (len(methods) == 1 and methods <= shared_scale_methods())


def _comparable(scored: pl.DataFrame) -> pl.DataFrame:
    """Keep, per set, the judges that scored all of its answers; if none did, the answers that all judges scored."""
    answers, judges = (pl.struct(names).n_unique().over(SET) for names in (ANSWER, JUDGE))
    whole = pl.len().over(*SET, *JUDGE) == answers
    whole_set = whole.any().over(SET)
    by_all = pl.len().over(ANSWER) == judges
    return scored.filter(pl.when(whole_set).then(whole).otherwise(by_all))


def _shares(scored: pl.DataFrame) -> pl.DataFrame:
    """Convert scores to the share of the set's other answers that rank lower, ties half; null for a single answer."""
    others = pl.len() - 1
    below = (pl.col("score").rank("average") - 1) / pl.when(others > 0).then(others)
    return scored.with_columns(score=below.over(*SET, *JUDGE))
