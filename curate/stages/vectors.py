"""The vectors of texts, kept in the run by model and text: asked for again, they are read."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from curate.dedup.semantic import embed
from curate.embeddings.encoder import DEFAULT, load_encoder
from curate.recipe.load import fingerprint
from curate.rundir.store import STAGES, Store
from curate.stages.remaining import Left


def vectors_of(store: Store, left: Left, model: str | None, compare: str = "prompt") -> np.ndarray:
    """[rows, dim] float32, of unit length; zeros for rows that are not left and for texts that say nothing."""
    return embedded(store, left.texts(compare)(), model, len(left.mask))


def embedded(store: Store, texts: Iterable[pl.Series], model: str | None, total: int) -> np.ndarray:
    """The same, of any texts."""
    cache = store.folder / STAGES / "embeddings" / f"{fingerprint(model or DEFAULT)[:16]}.bin"
    return embed(texts, load_encoder(model), cache, total=total)
