"""Eval items found by meaning: a paraphrase or a translation shares few 8-grams, and lies close as a vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from curate.contamination.eval_sets import EvalSet, named_once
from curate.contamination.hits import FOUND, above, flat, to_hits
from curate.embeddings.encoder import Encoder

AT_ONCE = 16 << 20  # similarities held at a time


@dataclass(frozen=True, eq=False)
class EvalVectors:
    """Items of eval sets as vectors of one encoder: eval_set, item: str; one row of `vectors` each."""

    items: pl.DataFrame
    vectors: np.ndarray  # float32, of unit length

    @classmethod
    def build(cls, sets: Iterable[EvalSet], encoder: Encoder) -> Self:
        """Encode the items of all sets. Raises when there is none, or two have one name."""
        sets = named_once(sets)
        names = [one.ids.alias("item").to_frame().select(pl.lit(one.name).alias("eval_set"), "item") for one in sets]
        texts = pl.concat([one.items.alias("text") for one in sets])
        return cls(pl.concat(names), encoder.encode(texts.to_list()))


def similar_hits(
    texts: pl.Series, evals: EvalVectors, encoder: Encoder, *, threshold: float = 0.9, every: bool = True
) -> pl.DataFrame:
    """
    in : str or list[str], one a training row; the encoder that made the vectors
    out: HITS: `overlap` is the cosine of the item and the closest of the row's texts, greater than the threshold

    As in `hits`. Blank texts are similar to nothing. What an encoder cuts off a long text is not looked at.
    """
    above(threshold)
    one_by_one, row_of = flat(texts)
    said = (one_by_one.fill_null("").str.strip_chars() != "").arg_true().to_numpy()
    portion = max(1, AT_ONCE // max(len(evals.vectors), 1))
    parts = [FOUND.to_frame()]
    for start in range(0, len(said), portion):
        places = said[start : start + portion]
        cosines = encoder.encode(one_by_one[places].to_list()) @ evals.vectors.T
        text, at = np.nonzero(cosines > threshold)
        found = {"row": row_of[places[text]], "at": at, "overlap": np.minimum(cosines[text, at], 1).astype(np.float64)}
        parts.append(pl.DataFrame(found, schema=FOUND))
    return to_hits(pl.concat(parts), evals.items, every=every)
