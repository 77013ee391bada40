"""
Equal pairs: those whose texts are the same in NFC, with white space folded and trimmed. Case and punctuation stay.

Normalizing every text would take as long as all other stages together, and nearly all pairs are unique. So the digits
and punctuation marks of each text are summed up first, and only pairs for which the sums repeat are normalized.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl

from curate.dedup.tables import Frames, Read
from curate.engine import THREADS, Block, Engine, starts_of
from curate.schema import with_ids
from curate.text.arrays import mixed
from curate.text.blocks import text_chunks
from curate.text.messages import text_of
from curate.text.utf8 import flat_bytes

RESPONSES = ("chosen", "rejected")
SIDES = ("prompt", *RESPONSES)
IDS = ("pair_id", "flipped_id")
# Characters that NFC leaves as they are and makes of no others: not letters (é may be two characters), nor < = > (which
# take a stroke), nor ; ` (which have twins). White space is not among them, either.
UNCHANGED = b"0123456789!\"#$%&'()*+,-./:?@[\\]^_{|}~"
WEIGHTS = np.zeros(256, np.uint32)
WEIGHTS[list(UNCHANGED)] = mixed(np.arange(1, len(UNCHANGED) + 1, dtype=np.uint64)).astype(np.uint32)


def equal_form(text: pl.Expr) -> pl.Expr:
    r"""
    Return texts in the form in which they are compared: str -> str; null stays null, a text of spaces becomes "".

    >>> import polars as pl
    >>> pl.select(equal_form(pl.lit(" Cafe\u0301  at\r\nnoon "))).item()
    'Café at noon'
    """
    return text.str.normalize("NFC").str.replace_all(r"\s+", " ").str.strip_chars(" ")


def equal_ids(ids: pl.DataFrame, read: Read, engine: Engine = THREADS) -> pl.DataFrame:
    """
    Replace the ids of equal pairs by those of their equal form, so that equal pairs have equal ids.

    in : pair_id and flipped_id; `read` returns pair_id or sides of the same rows
    out: the same rows and columns. The ids serve to compare pairs only: of a unique pair they may or may not change.
    """
    if ids.is_empty():
        return ids
    firsts = ids.select(first=pl.col("pair_id").is_first_distinct()).to_series()  # copies are equal anyway
    sums_of_prompts, sums_of_responses = partial(_sums, sides=("prompt",)), partial(_sums, sides=RESPONSES)
    of_prompts = pl.concat(engine.map(sums_of_prompts, _some(read(("prompt",)), firsts)))
    several = of_prompts.select(pl.len().over("prompt") > 1).to_series()
    firsts = firsts.scatter(firsts.arg_true().filter(~several), False)
    of_sides = [pl.DataFrame(schema=dict.fromkeys(RESPONSES, pl.UInt32))]
    if several.any():
        of_sides += engine.map(sums_of_responses, _some(read(RESPONSES), firsts))
    repeated = _repeated(pl.concat([of_prompts.filter(several), pl.concat(of_sides)], how="horizontal"))
    if not repeated.any():
        return ids
    wanted = firsts.scatter(firsts.arg_true().filter(~repeated), False)
    equal = pl.concat(engine.map(_in_equal_form, _some(read(("pair_id", *SIDES)), wanted)))
    joined = ids.join(equal, on="pair_id", how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(f"equal_{name}", name).alias(name) for name in IDS).select(ids.columns)


def _some(blocks: Frames, mask: pl.Series) -> Iterable[tuple[Block[pl.DataFrame], pl.Series]]:
    """Yield the blocks with their part of the mask, which is over all blocks; those without any wanted row are not."""
    masks = (mask.slice(start, stop - start) for start, stop in pairwise(starts_of(blocks)))
    return ((block, some) for block, some in zip(blocks, masks, strict=True) if some.any())


def _repeated(sums: pl.DataFrame) -> pl.Series:
    """Return a mask of the pairs that may equal another one, or its opposite."""
    one, two = pl.min_horizontal("chosen", "rejected"), pl.max_horizontal("chosen", "rejected")
    return sums.select(pl.len().over("prompt", one, two) > 1).to_series()


def _sums(wanted: tuple[Block[pl.DataFrame], pl.Series], sides: Sequence[str]) -> pl.DataFrame:
    """Return for each side the sums of the weights of its bytes (u32): equal for texts of the same equal form."""
    block, mask = wanted
    texts = block.read().filter(mask).select(text_of(side).fill_null("").alias(side) for side in sides)
    return pl.DataFrame([_text_sums(texts.get_column(side)) for side in sides])


def _text_sums(texts: pl.Series) -> pl.Series:
    distinct = texts.unique()  # a prompt, or the answer of a baseline, stands in many pairs
    sums = np.concatenate([np.zeros(0, np.uint32), *_chunk_sums(distinct)])
    known = pl.DataFrame({"text": distinct, "sum": sums})
    joined = texts.alias("text").to_frame().join(known, on="text", how="left", maintain_order="left")
    return joined.get_column("sum").alias(texts.name)


def _chunk_sums(texts: pl.Series) -> Iterable[np.ndarray]:
    for chunk in text_chunks(texts):
        data, ends = flat_bytes(chunk)
        sums = np.append(np.uint32(0), np.cumsum(WEIGHTS[data], dtype=np.uint32))
        yield sums[ends] - sums[np.append(0, ends[:-1])]


def _in_equal_form(wanted: tuple[Block[pl.DataFrame], pl.Series]) -> pl.DataFrame:
    """
    Return pair_id, equal_pair_id and equal_flipped_id. Pairs whose two responses have the same equal form are left out:
    in that form, they would be equal to their opposites.
    """
    block, mask = wanted
    pairs = block.read().filter(mask)
    content = equal_form(pl.element().struct.field("content"))
    in_form = pl.element().struct.with_fields(content=content)
    found = with_ids(pairs.with_columns(pl.col(side).list.eval(in_form) for side in SIDES))
    ids = pairs.select("pair_id").with_columns(found.get_column(name).alias(f"equal_{name}") for name in IDS)
    return ids.filter(pl.col("equal_pair_id") != pl.col("equal_flipped_id"))
