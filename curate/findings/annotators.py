"""
Who gave a label, as evidence of it: annotators who often disagree with the heads make their other labels doubtful.

The stack of heads is fitted on the labels themselves, so it cannot learn how far to trust them. What an annotator's
label says is therefore computed by Bayes' rule, from how reliable their labels of other prompts were.
"""

import numpy as np
import polars as pl

from curate.findings.crossfit import probability

# Fields of a source that name who gave a label, the first one that it has.
NAMES = (
    "annotator", "annotator_id", "worker", "worker_id", "labeler", "labeler_id", "labeller", "labeller_id", "rater",
    "rater_id", "user_id", "judge", "evaluator",
)  # fmt: skip
RIGHT = 0.85  # share of right labels of an average annotator: heads as noisy as ours cannot tell
LIMITS = 0.02, 0.98  # of that share of anyone


def annotator_odds(annotators: pl.Series, odds: np.ndarray, folds: np.ndarray) -> np.ndarray | None:
    """
    Return by how much the log-odds of each label differ from those of an average annotator's, because of who gave it.

    in : who gave each label (null = not known, which says 0), and the log-odds of the heads together, row for row
    out: None with fewer than two annotators

    Only labels outside the row's fold count.
    """
    names = annotators.rank("dense").fill_null(0).to_numpy().astype(np.int64)  # 0 = not known
    count = int(names.max(initial=0)) + 1
    if count < 3:
        return None
    lead = probability(odds) - 0.5  # > 0 where the heads agree with the label
    found = np.zeros(len(odds))
    for fold in np.unique(folds):
        others, rows = (names > 0) & (folds != fold), folds == fold
        right = 0.5 + (RIGHT - 0.5) * _reliability(names[others], lead[others], count)
        found[rows] = (_logit(np.clip(right, *LIMITS)) - _logit(np.array(RIGHT)))[names[rows]]
    return found


def _reliability(names: np.ndarray, lead: np.ndarray, count: int) -> np.ndarray:
    """
    Return how much more often than chance each annotator's labels are right, in units of the average annotator.

    If the heads give a label of an average annotator the probability 0.5 + x, one r times as reliable gives it with
    0.5 + r x; r is a regression through the origin, in which pairs count by x². It is shrunk towards the mean by how
    far annotators differ more than chance (DerSimonian and Laird 1986): those with few labels say nothing, and
    nobody does where all are alike.
    """
    weight = np.bincount(names, 4 * lead**2, count)  # 1 / variance of r
    each = np.bincount(names, 2 * np.abs(lead) * np.sign(lead), count) / np.maximum(weight, 1e-12)
    total, known = weight.sum(), (weight > 0).sum()
    mean = (weight * each).sum() / max(total, 1e-12)
    if mean <= 0 or known < 2:
        return np.ones(count)
    chance = (weight * (each - mean) ** 2).sum() - (known - 1)
    spread = max(0.0, chance / max(total - (weight**2).sum() / total, 1e-12))
    found: np.ndarray = 1 + spread * weight / (spread * weight + 1) * (each - mean) / mean
    return found


def _logit(share: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(share) - np.log1p(-share)
    return found
