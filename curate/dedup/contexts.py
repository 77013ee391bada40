"""
Context that many prompts share: a document, or a block of instructions, with a different question each.

Context is a long paragraph or line that stands in several prompts which otherwise differ. In prompts that are nearly
the same it is none: there, it is part of what makes them so. Only hashes are kept: of every long paragraph and line,
and MinHash sketches of those that prompts share and of the rest of these prompts. They are the same on every machine.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
import polars as pl

from curate.dedup.tables import Texts
from curate.engine import THREADS, Block, Engine
from curate.text.arrays import mixed
from curate.text.normalized_words import words

LONG = 100  # bytes of a paragraph or line; a shorter one cannot outweigh a question
MANY = 3  # prompts that share it, at least
SAMPLE = 16  # of them are compared, each with the next one
DIFFERENT = 0.75  # what two of them do not share has a mean Jaccard similarity of its words below this
SEEDS = mixed(np.arange(1, 9, dtype=np.uint64))  # of the sketches' minima
SKETCH = tuple(f"minimum_{seed}" for seed in range(len(SEEDS)))
PAIRS_AT_ONCE = 1 << 16
UNITS = pl.Schema({"unit": pl.UInt64(), "prompt": pl.UInt64()})  # a paragraph or line, and a prompt with it


def shared_contexts(texts: Texts, engine: Engine = THREADS) -> pl.Series:
    """
    Return the hashes (u64, ascending) of the paragraphs and lines that are context.

    in : the texts of prompts (str, nulls are skipped), which are read up to three times; equal ones count once
    """
    if not _any_repeated(engine.map(_long_lines, texts)):
        return pl.Series("unit", [], pl.UInt64)
    found = pl.concat([pl.DataFrame(schema=UNITS), *engine.map(_units, texts)]).unique()
    shared = found.filter(pl.len().over("unit") >= MANY).sort("unit", "prompt")
    pairs = shared.filter(pl.int_range(pl.len()).over("unit") < SAMPLE).with_columns(
        next=pl.col("prompt").shift(-1).fill_null(pl.col("prompt").first()).over("unit")
    )
    if pairs.is_empty():
        return pairs.get_column("unit")
    known, prompts = pairs.get_column("unit").unique(), pairs.select("prompt").unique()
    lines = pl.concat(engine.map(partial(_sketched, known=known, prompts=prompts), texts)).unique(list(UNITS))
    compared = [_similarity(some, lines) for some in pairs.unique(["prompt", "next"]).iter_slices(PAIRS_AT_ONCE)]
    of_units = pairs.join(pl.concat(compared), on=["prompt", "next"]).group_by("unit").agg(pl.mean("similarity"))
    return of_units.filter(pl.col("similarity") < DIFFERENT).get_column("unit").sort()


def _any_repeated(lines: Iterable[pl.DataFrame]) -> bool:
    """Whether a long line stands in several prompts, word for word: a cheap look at what most sets do not have."""
    long = list(lines)
    return bool(long and pl.concat(long).unique().select(pl.len().over("line").max() >= MANY).item())


def _long_lines(texts: Block[pl.Series]) -> pl.DataFrame:
    """Return the hashes of long lines and of the whole texts in which they stand: line, whole (u64)."""
    long = pl.col("text").str.len_bytes() >= LONG
    frame = texts.read().unique().alias("text").to_frame().filter(long)
    lines = frame.with_columns(whole=pl.col("text").hash(), text=pl.col("text").str.split("\n"))
    lines = lines.explode("text", empty_as_null=True, keep_nulls=True).filter(long)
    return lines.select("whole", line=pl.col("text").str.strip_chars().hash())


def split_lines(texts: pl.Series) -> pl.DataFrame:
    """
    in : str; nulls and texts too short to have context are skipped
    out: one row per line: row (of the text), text, size (bytes), words, `paragraph` and `line` (hashes of their words,
         null where short), `prompt` (hash of all words of the text)
    """
    frame = texts.alias("text").to_frame().with_row_index("row").filter(pl.col("text").str.len_bytes() >= LONG)
    frame = frame.with_columns(pl.col("text").str.split("\n\n")).explode("text", empty_as_null=True, keep_nulls=True)
    frame = frame.with_row_index("at").with_columns(pl.col("text").str.split("\n"))
    frame = frame.explode("text", empty_as_null=True, keep_nulls=True)
    hashes, offsets = words(frame.get_column("text"))
    sums = np.append(np.uint64(0), np.cumsum(mixed(hashes), dtype=np.uint64))
    frame = frame.with_columns(
        size=pl.col("text").str.len_bytes(),
        words=pl.Series(np.diff(offsets)),
        line=pl.Series(sums[offsets[1:]] - sums[offsets[:-1]]),
    )
    return frame.with_columns(
        paragraph=pl.when(pl.col("size").sum().over("at") >= LONG).then(pl.col("line").sum().over("at")),
        line=pl.when(pl.col("size") >= LONG).then("line"),
        prompt=pl.col("line").sum().over("row"),
    ).drop("at")


def _units(texts: Block[pl.Series]) -> pl.DataFrame:
    """Return UNITS: the long paragraphs and lines with the prompts they stand in."""
    lines = split_lines(texts.read().unique())  # one prompt often has many pairs
    units = (lines.select("prompt", unit=name).drop_nulls().unique() for name in ("paragraph", "line"))
    return pl.concat(units).select(list(UNITS)).unique()


def with_unit(lines: pl.DataFrame, known: pl.Series) -> pl.DataFrame:
    """Add `unit`: the paragraph of each line, or the line, whichever is known; null for neither."""
    paragraph, line = (pl.when(pl.col(name).is_in(known.implode())).then(name) for name in ("paragraph", "line"))
    return lines.with_columns(unit=pl.coalesce(paragraph, line))


def _sketched(texts: Block[pl.Series], known: pl.Series, prompts: pl.DataFrame) -> pl.DataFrame:
    """Return prompt, unit (of the known ones) and the sketch of its words; with unit null that of its other lines."""
    lines = with_unit(split_lines(texts.read().unique()), known).filter(pl.col("words") > 0)
    lines = lines.join(prompts, on="prompt", how="semi")
    minima = lines.select(list(UNITS)).with_columns(_minima(lines.get_column("text")))
    return minima.group_by(list(UNITS)).agg(pl.col(SKETCH).min())


def _similarity(pairs: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """
    Return prompt, next and the estimated Jaccard similarity of the words that are not in units of both.

    Pairs of which one prompt has nothing of its own are left out.
    """
    own = []
    for one, other in (("prompt", "next"), ("next", "prompt")):
        of_one = pairs.select("prompt", "next").join(lines, left_on=one, right_on="prompt", coalesce=False)
        others = lines.select(unit="unit", owner="prompt").drop_nulls()
        alone = of_one.join(others, left_on=[other, "unit"], right_on=["owner", "unit"], how="anti")
        own.append(alone.group_by("prompt", "next").agg(pl.col(SKETCH).min()))
    both = own[0].join(own[1], on=["prompt", "next"], suffix="_next")
    agreement = pl.mean_horizontal((pl.col(name) == pl.col(f"{name}_next")).cast(pl.Float64) for name in SKETCH)
    return both.select("prompt", "next", similarity=agreement)


def _minima(texts: pl.Series) -> list[pl.Series]:
    """Return a column per seed: the smallest hash of the words of each text (each has at least one)."""
    hashes, offsets = words(texts)
    if not len(hashes):
        return [pl.Series(name, [], dtype=pl.UInt64) for name in SKETCH]
    return [
        pl.Series(name, np.minimum.reduceat(mixed(hashes ^ seed), offsets[:-1]))
        for name, seed in zip(SKETCH, SEEDS, strict=True)
    ]
