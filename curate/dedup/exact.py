"""The same pair twice, the same responses with both orientations, too many pairs of one prompt."""

import polars as pl

DROPS = pl.Schema(
    {"row": pl.UInt64(), "rule": pl.String(), "value": pl.Float64(), "matched": pl.String()},
)


def exact(
    pairs: pl.DataFrame,
    *,
    duplicates: bool = True,
    contradictions: bool = True,
    best: str | None = None,
    max_pairs_per_prompt: int | None = None,
) -> pl.DataFrame:
    """
    in : row (u64, unique), pair_id, flipped_id, prompt_id, and the column `best` if one is named
    out: DROPS, one row a dropped pair. `matched` is the pair_id it duplicates, contradicts or gives way to.

    Of equal pairs the first stays, or the one with the highest `best` (null is lowest, ties go to the first).
    Of contradictions (A over B and B over A) both go. Of a prompt's pairs the first N stay, or the N best.
    `value` is the number of pairs of the prompt for max_pairs_per_prompt, else null.
    """
    order = [pl.col(best).cast(pl.Float64).fill_nan(None)] if best else []
    descending = [*[True] * len(order), False]
    ranked = pairs.sort(*order, "row", descending=descending, nulls_last=True)
    left, drops = ranked, [pl.DataFrame(schema=DROPS)]
    if duplicates:
        firsts = ranked.select("row", "pair_id", first=pl.col("row").first().over("pair_id"))
        repeats = firsts.filter(pl.col("row") != pl.col("first"))
        drops.append(_drops(repeats, "duplicate_pair", pl.col("pair_id")))
        left = left.join(repeats, on="row", how="anti", maintain_order="left")
    if contradictions:
        # A pair of two equal responses is its own opposite: nothing contradicts it.
        ids = left.filter(pl.col("pair_id") != pl.col("flipped_id")).select(flipped_id="pair_id")
        both = left.join(ids, on="flipped_id", how="semi", maintain_order="left")
        drops.append(_drops(both, "contradiction", pl.col("flipped_id")))
        left = left.join(both, on="row", how="anti", maintain_order="left")
    if max_pairs_per_prompt is not None:
        of_prompt = left.select(
            "row",
            place=pl.int_range(pl.len()).over("prompt_id"),
            best_id=pl.col("pair_id").first().over("prompt_id"),
            pairs=pl.len().over("prompt_id"),
        )
        over = of_prompt.filter(pl.col("place") >= max_pairs_per_prompt)
        drops.append(_drops(over, "max_pairs_per_prompt", pl.col("best_id"), pl.col("pairs")))
    return pl.concat(drops).sort("row")


def _drops(rows: pl.DataFrame, rule: str, matched: pl.Expr, value: pl.Expr | None = None) -> pl.DataFrame:
    measured = pl.lit(None, pl.Float64) if value is None else value
    return rows.select(
        pl.col("row").cast(pl.UInt64), rule=pl.lit(rule), value=measured.cast(pl.Float64), matched=matched
    ).match_to_schema(DROPS)
