"""
Label confidence: how probable it is that the chosen answer of each pair is the better one.

Several heads look at a pair, each learnt from other prompts: surface features, these with sentence vectors, character
n-grams, boosted trees, the models that wrote the answers, scores of others (judges, reward models), and other labels of
the same two answers. Their log-odds are stacked by a logistic regression, again cross-fitted, whose probability is the
confidence; how reliable the label's annotator is shifts it (`curate.findings.annotators`). What differs from cleanlab's
confident learning (Northcutt et al. 2021, arXiv 1911.00068) is that a pair and its mirror image get opposite answers,
and that several heads are combined.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import RecipeError, require
from curate.findings.annotators import annotator_odds
from curate.findings.crossfit import (
    EXTRA,
    Fit,
    boosted,
    crossfitted,
    folds_of,
    logistic,
    one_thread,
    probability,
    scaled,
)
from curate.findings.features import surface_sides

LEAST = 100  # pairs below which nothing can be learnt
BOOSTED = 1000  # pairs from which trees are grown
REVERSED, AGREES = 0.25, 0.6  # bounds of the verdict
INDEPENDENT = 0.01  # share of pairs in which a score must disagree with the label to count as evidence
NOISE = pl.Schema({"label_confidence": pl.Float64(), "label_verdict": pl.String(), "heldout_loss": pl.Float64()})
SCORES = ("margin", "reward_margin", "implicit_gap")  # columns that may hold scores of others


@dataclass(frozen=True)
class Evidence:
    """
    What is known of the pairs, row for row.

    pairs: pair_id, prompt_id, and, if known, flipped_id, chosen_model, rejected_model, and columns of SCORES. signals:
    `chosen_…` and `rejected_…` of both sides. texts: the answers. vectors: unit vectors of the answers, or None.
    groups: what stays in one fold (a cluster of prompts). annotators: who gave each label (null = not known), or None.
    """

    pairs: pl.DataFrame
    signals: pl.DataFrame
    texts: tuple[pl.Series, pl.Series]
    vectors: tuple[np.ndarray, np.ndarray] | None
    groups: pl.Series
    annotators: pl.Series | None = None


@dataclass(frozen=True)
class LabelNoise:
    """rows: NOISE, row for row. heads: the weight of each head, and the share of labels with which it agrees."""

    rows: pl.DataFrame
    heads: list[dict[str, float | str]]


def label_noise(evidence: Evidence) -> LabelNoise:
    """
    Estimate the confidence of every label; nothing is flipped.

    out: label_confidence (0..1: the probability that another label of the pair, as noisy as the others, would be the
         same; the pair's own label is no part of it, but for how reliable its annotator is), label_verdict ("reversed"
         below 0.25: the heads are sure of the opposite; "ambiguous" up to 0.6; else "agrees"), heldout_loss (-ln of the
         confidence, nats)
    Raises RecipeError for fewer than 100 pairs, or fewer prompts than two.
    """
    count = len(evidence.pairs)
    folds = folds_of(evidence.groups)
    if count < LEAST or folds.max(initial=0) < 1:
        groups = evidence.groups.n_unique()
        raise RecipeError(
            f"label_noise: {count:,} pairs of {groups:,} prompts are too few to learn from; expected {LEAST} or more"
        )
    with one_thread():
        odds = {name: crossfitted(fit, folds) for name, fit in _heads(evidence).items()}
        stacked, weights = _stacked(np.column_stack(list(odds.values())), folds)
    heads: list[dict[str, float | str]] = [
        {"head": name, "weight": round(float(weight), 3), "agrees": round(float(_agreement(found)), 4)}
        for (name, found), weight in zip(odds.items(), weights, strict=True)
    ]
    if evidence.annotators is not None and (who := annotator_odds(evidence.annotators, stacked, folds)) is not None:
        stacked = stacked + who
        heads.append({"head": "annotators", "weight": 1.0, "agrees": round(_agreement(who), 4)})
    return LabelNoise(_rows(probability(stacked)), heads)


def _rows(confidence: np.ndarray) -> pl.DataFrame:
    found = pl.DataFrame({"label_confidence": confidence})
    sure = pl.col("label_confidence")
    verdict = (
        pl.when(sure < REVERSED).then(pl.lit("reversed"))
        .when(sure <= AGREES).then(pl.lit("ambiguous"))
        .otherwise(pl.lit("agrees"))
    )  # fmt: skip
    return found.with_columns(label_verdict=verdict, heldout_loss=-sure.clip(1e-12, 1).log()).cast(NOISE)


def _agreement(odds: np.ndarray) -> float:
    """Return the share of the pairs in which a head prefers chosen; a head that prefers neither counts half."""
    return float(np.mean(np.sign(odds) / 2 + 0.5))


def _heads(evidence: Evidence) -> dict[str, Fit]:
    """Return the heads for which there is evidence."""
    sides = surface_sides(evidence.signals)
    difference = scaled(sides.chosen - sides.rejected)
    heads = {"surface": logistic(difference, 0.03), "n-grams": logistic(_ngrams(*evidence.texts), 1.0)}
    if evidence.vectors is not None:
        vectors = scaled(evidence.vectors[0] - evidence.vectors[1])
        heads["surface and vectors"] = logistic(np.hstack([difference, vectors]), 0.001)
    if len(difference) >= BOOSTED:
        heads["trees"] = boosted(sides.chosen, sides.rejected)
    if (models := _models(evidence.pairs)) is not None:
        heads["models"] = logistic(models, 1.0)
    if (scores := _scores(evidence.pairs)) is not None:
        heads["scores"] = logistic(scores, 1.0)
    if (votes := _votes(evidence.pairs)) is not None:
        heads["other labels"] = logistic(votes, 1.0)
    return heads


def _ngrams(chosen: pl.Series, rejected: pl.Series) -> "object":
    """Return the differences of TF-IDF over character n-grams: a sparse matrix, [rows, n-grams]."""
    text = require("sklearn.feature_extraction.text", EXTRA)
    model = text.TfidfVectorizer(
        sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4), min_df=5, max_features=50_000, dtype=np.float32
    )
    sides = [side.fill_null("").str.head(NGRAM_CHARS).to_list() for side in (chosen, rejected)]
    try:
        model.fit(sides[0] + sides[1])
    except ValueError:  # no n-gram occurs five times
        return require("scipy.sparse", EXTRA).csr_matrix((len(chosen), 1))
    return (model.transform(sides[0]) - model.transform(sides[1])).tocsr()


NGRAM_CHARS = 2000  # of an answer whose n-grams are looked at


def _models(pairs: pl.DataFrame) -> np.ndarray | None:
    """Return 1 for the model of chosen and -1 for that of rejected, per model; None without two models."""
    if not {"chosen_model", "rejected_model"} <= set(pairs.columns):
        return None
    both = pl.concat([pairs.get_column(f"{side}_model").alias("model") for side in ("chosen", "rejected")])
    names = both.drop_nulls().unique().sort()
    if not 2 <= len(names) <= MODELS:
        return None
    sides = [
        pairs.select((pl.col(f"{side}_model") == name).fill_null(value=False).alias(name) for name in names).to_numpy()
        for side in ("chosen", "rejected")
    ]
    found: np.ndarray = sides[0].astype(np.float64) - sides[1].astype(np.float64)
    return found if found.any() else None


MODELS = 500  # more names than this are no models


def _scores(pairs: pl.DataFrame) -> np.ndarray | None:
    """
    Return the scores of others, chosen minus rejected; None if there are none.

    A score from which the label was made is no evidence of it: it never disagrees.
    """
    used: list[str] = []
    for name in [name for name in SCORES if name in pairs.columns]:
        values = pairs.get_column(name).drop_nulls()
        if len(values) and (values < 0).sum() >= INDEPENDENT * len(values):
            used.append(name)
    if not used:
        return None
    return scaled(pairs.select(pl.col(name).cast(pl.Float64).fill_nan(None).fill_null(0.0) for name in used).to_numpy())


def _votes(pairs: pl.DataFrame) -> np.ndarray | None:
    """Return how many other rows prefer the same answer of the two, minus those that prefer the other; None if none."""
    if "flipped_id" not in pairs.columns:
        return None
    sizes = pairs.group_by("pair_id").len("same")
    against = sizes.rename({"pair_id": "flipped_id", "same": "opposite"})
    counted = pairs.select("pair_id", "flipped_id").join(sizes, on="pair_id", how="left", maintain_order="left")
    counted = counted.join(against, on="flipped_id", how="left", maintain_order="left")
    votes = counted.select(pl.col("same").cast(pl.Float64) - 1 - pl.col("opposite").fill_null(0)).to_numpy()
    return scaled(np.sign(votes) * np.log1p(np.abs(votes))) if votes.any() else None


def _stacked(odds: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the log-odds of the heads together, cross-fitted, and the weights of a fit on all rows.

    A head that the others would turn around (a negative weight) is left out: it only fits their noise.
    """
    parts, weights = scaled(odds), np.zeros(odds.shape[1])
    used = np.arange(odds.shape[1])
    while len(used):
        model = require("sklearn.linear_model", EXTRA).LogisticRegression(C=STACKING, fit_intercept=False)
        model.fit(np.vstack([parts[:, used], -parts[:, used]]), np.repeat([1, 0], len(parts)))
        found = model.coef_[0]
        if (found >= 0).all():
            weights[used] = found
            break
        used = np.delete(used, found.argmin())
    return crossfitted(logistic(parts[:, used], STACKING), folds) if len(used) else np.zeros(len(parts)), weights


STACKING = 1.0  # hardly regularised: a few weights, and what comes of them is a probability
