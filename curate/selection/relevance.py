"""
Relevance: how similar texts are to examples of what is wanted, compared with a background of general prompts.

The score of a text is its mean cosine to the three nearest examples minus that to the three nearest texts of the
background. It is calibrated on the background alone: relevance is the logistic of its z-score minus 2.5, so that 0.5 is
what one in a hundred general prompts reaches, whatever the set that is filtered.
"""

from importlib.resources import files

import numpy as np

NEAREST = 3  # examples, and texts of the background, that count
MIDDLE = 2.5  # standard deviations above the mean of the background at which relevance is 0.5
CELLS = 1 << 23  # cosines computed at once


def background() -> list[str]:
    """Return the texts of the background: 151 short prompts on everyday subjects."""
    text = (files("curate.selection") / "background.txt").read_text("utf-8")
    return text.splitlines()


def relevance(vectors: np.ndarray, examples: np.ndarray, general: np.ndarray) -> np.ndarray:
    """
    Return the relevance of each row, 0..1 (float64); NaN for a vector of zeros, which has no direction.

    in : unit vectors by one model, [rows, dim], of the texts, of one or more examples, of `background()`

        >>> import numpy as np
        >>> axes = np.eye(4)
        >>> found = relevance(axes[[0, 3]], axes[:1], np.vstack([axes[1:], axes[1:]]))
        >>> bool(found[0] > 0.99), bool(found[1] < 0.5)
        (True, True)
    """
    scores = _means(vectors, examples) - _means(vectors, general)
    others = _means(general, examples) - _means(general, general, without_itself=True)
    spread = max(float(others.std()), 1e-6)
    with np.errstate(over="ignore"):
        found: np.ndarray = 1 / (1 + np.exp(MIDDLE - (scores - others.mean()) / spread))
    found[~vectors.any(axis=1)] = np.nan
    return found


def _means(vectors: np.ndarray, others: np.ndarray, *, without_itself: bool = False) -> np.ndarray:
    """Return each row's mean cosine to the nearest of the others."""
    means = []
    block = max(1, CELLS // max(1, len(others)))
    for start in range(0, len(vectors), block):
        cosines = vectors[start : start + block].astype(np.float64) @ others.astype(np.float64).T
        if without_itself:
            rows = np.arange(len(cosines))
            cosines[rows, start + rows] = -np.inf
        count = min(NEAREST, others.shape[0] - without_itself)
        means.append(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1))
    return np.concatenate(means) if means else np.zeros(0)
