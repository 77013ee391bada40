"""Eval items in training rows. `hits` goes by shared n-grams, `exact_hits` by words, `similar_hits` by vectors."""

from curate.contamination.embedding import EvalVectors, similar_hits
from curate.contamination.eval_sets import EvalSet, known_evals, load_eval
from curate.contamination.hits import HITS, by_set, closest, in_blocks, row_texts
from curate.contamination.index import EvalIndex
from curate.contamination.ngram import exact_hits, hits

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
