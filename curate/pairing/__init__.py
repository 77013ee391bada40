"""Pairing: scored answers → pairs. Decides which answers of a set form a pair, or gives the reason why none do."""

from collections.abc import Sequence

import polars as pl

from curate.errors import unknown
from curate.pairing.reasons import ABOUT, STAGES, problems_of
from curate.pairing.settings import Settings, is_complete, judged, pairable
from curate.pairing.strategies import STRATEGIES, pool_of
from curate.schema import CANDIDATES, STAGED, canonical, check, with_ids

__all__ = ["ABOUT", "STAGES", "STRATEGIES", "Settings", "pair", "pairable", "picked"]

RESPONSES = ("chosen", "rejected")
# Of each side, in `extra`.
PROVENANCE = ("candidate_id", "finish_reason", "params", "logp_per_token", "scores", "reason")


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
    min_logp_per_token: float | None = None,
) -> pl.DataFrame:
    """
    Form preference pairs from the scored answers of each set.

    in : CANDIDATES; the answers of a set share (source, source_row) and need not be adjacent
    out: STAGED: one row per pair, the best of a set first, or one row with `problem` and `detail` for a set without one

    Sets are in the order of their first answers. Chosen leads by more than 0 and at least `min_margin`, with a
    tolerance of 1e-9. Of equal scores the first answer is used. A null, NaN or infinite score means "not judged".
    Answers with the same messages are never paired. An answer whose `finish_reason` is not one of a complete answer
    (length, content_filter, tool_calls, error, …) is never chosen, and rejected only with `cut_off="rejected"`: a pair
    with a cut answer teaches length. With `min_logp_per_token` (nats) neither is an answer whose log-likelihood per
    token under the model to be trained is lower or unknown. The strategies:

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
    settings = Settings(
        strategy=strategy,
        min_margin=min_margin,
        min_chosen_score=min_chosen_score,
        near=near,
        length_matched=length_matched,
        order=tuple(dict.fromkeys(order)),
        max_pairs=max_pairs,
        salt=salt,
        cut_off=cut_off,
        min_logp_per_token=min_logp_per_token,
    )
    candidates = check(candidates, CANDIDATES, "candidates")
    return _staged(candidates, picked(candidates, settings), strategy)


def picked(candidates: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """
    Return which candidates are in a pair, by their place in the frame.

    in : CANDIDATES, as in `pair`
    out: set (the place of its first answer); chosen, rejected: places, null where the set yields no pair; problem,
         detail: why it does not. Sets are in the order of their first answers.
    """
    if settings.strategy not in STRATEGIES:
        raise unknown("strategy", settings.strategy, STRATEGIES)
    answers = _answers(candidates, settings)
    pool = pool_of(answers, settings)
    picks = STRATEGIES[settings.strategy](pool, settings).select("set", *RESPONSES)
    if settings.max_pairs is not None:
        picks = picks.filter(pl.int_range(pl.len()).over("set") < settings.max_pairs)
    problems = problems_of(answers.join(picks, on="set", how="anti"), pool, settings)
    return pl.concat([picks, problems], how="diagonal").sort("set", maintain_order=True)


def _answers(candidates: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return one row per candidate, with numbers in place of texts; `set` is the row of its set's first answer."""
    text, last = canonical("response"), pl.col("response").list.last()
    return candidates.with_row_index("row").select(
        "row",
        *("candidate_id", "model", "error"),
        pl.col("on_policy").fill_null(value=False),
        set=pl.col("row").first().over("source", "source_row"),
        # A hash of the messages, of which 64 bits are ample within a set; null = no answer.
        text=pl.when(text.str.len_bytes() > 0).then(text.hash()),
        chars=last.struct.field("content").str.len_chars().fill_null(0).cast(pl.Int64),
        score=judged(),
        complete=is_complete(),
        pairable=pairable(settings.cut_off, settings.min_logp_per_token),
        finish=pl.col("finish_reason"),
    )


def _staged(candidates: pl.DataFrame, outcome: pl.DataFrame, strategy: str) -> pl.DataFrame:
    """Convert set, chosen, rejected (rows of the candidates), problem and detail to STAGED, row by row."""
    candidates = candidates.with_columns(score=judged())

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


def __dir__() -> list[str]:
    return sorted(__all__)
