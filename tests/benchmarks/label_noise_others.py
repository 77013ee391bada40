"""Label quality by cleanlab, in its own environment: FOLDER/in.npz (x, groups) → FOLDER/out.npy."""

import sys
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores  # type: ignore[import-not-found]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.model_selection import (  # type: ignore[import-untyped]
    GroupKFold,
    cross_val_predict,
)

folder = Path(sys.argv[1])
given = np.load(folder / "in.npz")
# A classifier of two classes needs both: each pair is turned around at random.
sign = np.where(np.random.default_rng(0).random(len(given["x"])) < 0.5, 1, -1)
x, labels = given["x"] * sign[:, None], (sign > 0).astype(int)
best, least = None, -np.inf
for strength in (0.001, 0.01, 0.1, 1.0):  # the best one by its likelihood on held-out folds
    model = LogisticRegression(C=strength, max_iter=1000)
    probabilities = cross_val_predict(
        model, x, labels, groups=given["groups"], cv=GroupKFold(5), method="predict_proba"
    )
    likelihood = np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1)).mean()
    if likelihood > least:
        best, least = probabilities, likelihood
np.save(folder / "out.npy", get_label_quality_scores(labels, best, method="self_confidence"))
