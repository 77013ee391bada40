"""Contamination: eval items in training rows, found by shared n-grams, by equal words, or by embedding."""

__all__ = [
    "embedding",
    "eval_sets",
    "hits",
    "index",
    "ngram",
]


def __dir__() -> list[str]:
    return sorted(__all__)
