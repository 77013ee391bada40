"""Eval items in training rows. `hits` goes by shared n-grams, `exact_hits` by words, `similar_hits` by vectors."""

from curate.decontaminate.evals import EvalSet, known_evals, load_eval
from curate.decontaminate.index import EvalIndex
from curate.decontaminate.overlap import exact_hits, hits
from curate.decontaminate.similar import EvalVectors, similar_hits
from curate.decontaminate.table import HITS, by_set, closest, in_blocks, row_texts

__all__ = [
    "HITS",
    "EvalIndex",
    "EvalSet",
    "EvalVectors",
    "by_set",
    "closest",
    "exact_hits",
    "hits",
    "in_blocks",
    "known_evals",
    "load_eval",
    "row_texts",
    "similar_hits",
]
