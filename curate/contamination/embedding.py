"""Contamination by meaning: a paraphrase or translation shares few 8-grams, but its embedding is close."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from curate.contamination.eval_set import EvalSet, uniquely_named
from curate.contamination.hits import FOUND, check_threshold, flattened, to_hits
from curate.embeddings.encoder import Encoder

SIMILARITIES_PER_CHUNK = 16 << 20  # held in memory at a time


@dataclass(frozen=True, eq=False)
class EvalVectors:
    """Items of eval sets as vectors of one encoder: eval_set, item (str), and one row of `vectors` per item."""

    items: pl.DataFrame
    vectors: np.ndarray  # float32, of unit length

    @classmethod
    def build(cls, sets: Iterable[EvalSet], encoder: Encoder) -> Self:
        """Encode the items of all sets. Raises RecipeError for no sets, and for two of the same name."""
        sets = uniquely_named(sets)
        names = [one.ids.alias("item").to_frame().select(pl.lit(one.name).alias("eval_set"), "item") for one in sets]
        texts = pl.concat([one.items.alias("text") for one in sets])
        return cls(pl.concat(names), encoder.encode(texts.to_list()))


def similar_hits(
    texts: pl.Series, evals: EvalVectors, encoder: Encoder, *, threshold: float = 0.9, every: bool = True
) -> pl.DataFrame:
    """
    Return HITS: `overlap` is the cosine of the item and the closest of the row's texts, greater than the threshold.

    in : str or list[str], one per training row; the encoder of the eval vectors

    Order and `every` are as in `ngram.hits`. Blank texts are similar to none. Text beyond the encoder's maximum length
    is not compared.
    """
    check_threshold(threshold)
    single, row_of = flattened(texts)
    not_blank = (single.fill_null("").str.strip_chars() != "").arg_true().to_numpy()
    chunk = max(1, SIMILARITIES_PER_CHUNK // max(len(evals.vectors), 1))
    parts = [FOUND.to_frame()]
    for start in range(0, len(not_blank), chunk):
        places = not_blank[start : start + chunk]
        cosines = encoder.encode(single[places].to_list()) @ evals.vectors.T
        text, at = np.nonzero(cosines > threshold)
        found = {"row": row_of[places[text]], "at": at, "overlap": np.minimum(cosines[text, at], 1).astype(np.float64)}
        parts.append(pl.DataFrame(found, schema=FOUND))
    return to_hits(pl.concat(parts), evals.items, every=every)
