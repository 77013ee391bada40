"""Splits by prompt: every pair of a prompt is on one side, and adding rows moves no other row."""

import polars as pl

from curate.schema import digest

HEX = 13  # 52 bits: every such number is exact as a float


def split(prompt_ids: pl.DataFrame, *, test: float, salt: str) -> pl.Series:
    """
    in : prompt_id (str)
    out: `split`, "train" or "test": a function of the id and the salt alone. `test` is the expected share of
         prompts (0..1); the share that comes out differs by chance, the less the more prompts there are.
    """
    place = digest(pl.concat_str(pl.lit(salt), pl.lit("|"), pl.col("prompt_id"))).str.head(HEX).str.to_integer(base=16)
    on_test = place.cast(pl.Float64) / 16**HEX < test
    return prompt_ids.select(
        pl.when(on_test).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    ).to_series()
