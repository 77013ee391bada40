"""
Answers → pairs. Every row is accounted for: a pair has the row of its chosen answer, and a row without a pair has the
reason why.
"""

import msgspec
import polars as pl

from curate import pairing
from curate.schema import CANDIDATES, STAGED, canonical, digest, empty, with_ids
from curate.sources.formats.base import ANSWERS, AnswerFormat
from curate.text.end_tokens import without_end_tokens

MAX_SET = 1_000  # answers to one prompt; comparing more would need much memory, and says little
PAIRED = ("chosen_row", "rejected_row", "chosen_reason", "rejected_reason")  # in `extra`, where they are known


def paired(frame: pl.DataFrame, shape: AnswerFormat, name: str, settings: pairing.Settings) -> pl.DataFrame:
    """
    Return the pairs of a frame's answers, and its rows without a pair.

    in : see `AnswerFormat.to_answers`
    out: STAGED, by source_row; a row whose answers form several pairs occurs for each of them
    """
    answers, rows = shape.to_answers(frame)
    answers = answers.cast(ANSWERS).sort("source_row", maintain_order=True)
    nth = pl.int_range(pl.len()).over("set")
    surplus = answers.filter(nth >= MAX_SET).get_column("source_row")
    answers = answers.filter(nth < MAX_SET)
    outcome = pairing.picked(candidates_of(answers, name), settings)
    pairs = _pairs(answers, outcome.filter(pl.col("problem").is_null()), rows, settings.strategy)
    others = _others(answers, outcome, pairs, rows, surplus)
    both = pl.concat([pairs, others], how="diagonal").with_columns(source=pl.lit(name))
    both = both.with_columns(empty(STAGED, [column for column in STAGED if column not in both.columns]))
    return both.sort("source_row", maintain_order=True).select(pl.col(n).cast(kind) for n, kind in STAGED.items())


def candidates_of(answers: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return ANSWERS as CANDIDATES whose source_row is the number of their set."""
    own = pl.concat_str(canonical("prompt"), canonical("response"), pl.col("model").fill_null(""), ignore_nulls=True)
    known = answers.with_columns(source=pl.lit(name), source_row="set", candidate_id=digest(own))
    missing = [column for column in CANDIDATES if column not in known.columns]
    return known.with_columns(empty(CANDIDATES, missing)).select(list(CANDIDATES))


def _pairs(answers: pl.DataFrame, picks: pl.DataFrame, rows: pl.DataFrame, strategy: str) -> pl.DataFrame:
    sides = {side: answers[picks.get_column(side).to_list()] for side in ("chosen", "rejected")}
    frame = pl.DataFrame(
        {
            "source_row": sides["chosen"].get_column("source_row"),
            "prompt": sides["chosen"].get_column("prompt"),
            **{side: both.get_column("response") for side, both in sides.items()},
            **{f"{side}_{name}": both.get_column(name) for side, both in sides.items() for name in ("model", "score")},
        }
    )
    facts = pl.DataFrame(
        {
            f"{side}_{name}": both.get_column(column)
            for name, column in (("row", "source_row"), ("reason", "reason"))
            for side, both in sides.items()
        }
    )
    of_row = rows.select("source_row", *(name for name in ("extra", "tools") if name in rows.columns))
    frame = frame.join(of_row, on="source_row", how="left", maintain_order="left")
    same_row = facts.get_column("chosen_row") == facts.get_column("rejected_row")
    facts = facts.with_columns(pl.when(~same_row).then(name).alias(name) for name in ("chosen_row", "rejected_row"))
    extra = [_extra(*row, strategy) for row in zip(frame.get_column("extra"), facts.select(PAIRED).rows(), strict=True)]
    frame = frame.with_columns(pl.Series("extra", extra, pl.String))
    return with_ids(without_end_tokens(frame, ("prompt", "chosen", "rejected")))


def _extra(extra: str | None, facts: tuple[object, ...], strategy: str) -> str:
    """Return the columns of the chosen answer's row, and how the pair was formed."""
    formed = {"strategy": strategy} | {n: v for n, v in zip(PAIRED, facts, strict=True) if v is not None}
    return msgspec.json.encode({**(msgspec.json.decode(extra) if extra else {}), "pairing": formed}).decode()


def _others(
    answers: pl.DataFrame, outcome: pl.DataFrame, pairs: pl.DataFrame, rows: pl.DataFrame, surplus: pl.Series
) -> pl.DataFrame:
    """Return what is no pair: sets without one, for each of their rows, and rows without a chosen answer."""
    number = answers.get_column("set")
    failed = outcome.filter(pl.col("problem").is_not_null())
    failed = failed.select(set=number.gather(failed.get_column("set")), why="problem", about="detail")
    members = answers.select("set", "source_row").unique(maintain_order=True)
    of_sets = members.join(failed, on="set", maintain_order="left").select("source_row", "why", "about")
    rejected = answers.get_column("source_row").gather(outcome.get_column("rejected").drop_nulls()).implode()
    known = pl.concat([of_sets.get_column("source_row"), pairs.get_column("source_row")]).implode()
    row, problem = pl.col("source_row"), pl.col("problem")
    alone = rows.filter(problem.is_not_null() | ~row.is_in(known)).with_columns(
        why=pl.coalesce(
            problem,
            pl.when(row.is_in(rejected)).then(pl.lit("rejected_side")),
            pl.when(row.is_in(surplus.implode())).then(pl.lit("too_many_answers")),
            pl.lit("not_picked"),
        ),
        about=pl.coalesce("detail", pl.when(problem.is_null()).then(pl.lit("see the pairs of the same prompt"))),
    )
    usable = rows.filter(problem.is_null()).drop("problem", "detail")
    both = pl.concat(
        [
            of_sets.join(usable, on="source_row", maintain_order="left"),
            alone.drop("problem", "detail").select(
                "source_row", "why", "about", pl.exclude("source_row", "why", "about")
            ),
        ],
        how="diagonal",
    )
    return both.rename({"why": "problem", "about": "detail"}).select(
        "source_row", "problem", "detail", "extra", *(name for name in ("prompt",) if name in rows.columns)
    )
