"""The remaining pairs of a run as a corpus: their texts and embeddings, which are cached in the run per model."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import polars as pl

from curate.dedup.corpus import BlockCorpus, blocks_of
from curate.dedup.tables import Read
from curate.embeddings.cache import embed
from curate.embeddings.encoder import DEFAULT, load_encoder
from curate.recipe.load import Recipe
from curate.rundir.store import STAGES, Store, fingerprint
from curate.stages.remaining import Remaining


def vector_model(recipe: Recipe) -> str | None:
    """Return the embedding model of the recipe: the first named one, used wherever none is named; None = default."""
    sections = (recipe.select, recipe.dedup.semantic)
    return next((section.model for section in sections if section and section.model), None)


def run_corpus(store: Store, remaining: Remaining) -> BlockCorpus:
    """Return the corpus of the remaining pairs; texts of dropped ones are null, their vectors zeros."""
    return stored_corpus(store, remaining.sides, len(remaining.mask))


def stored_corpus(store: Store, read: Read, rows: int) -> BlockCorpus:
    """Return a corpus whose vectors are cached in the run."""
    return BlockCorpus(read, rows, partial(embedded, store), store.engine)


def frame_corpus(store: Store, frame: pl.DataFrame) -> BlockCorpus:
    """Return the corpus of a frame, with vectors cached in the run."""
    return stored_corpus(store, blocks_of(frame), len(frame))


def embedded(store: Store, texts: Iterable[pl.Series], model: str | None, total: int) -> np.ndarray:
    """Return unit vectors of texts, [total, dim] float32, from the run's cache where available."""
    cache = store.folder / STAGES / "embeddings" / f"{fingerprint(model or DEFAULT)[:16]}.bin"
    return embed(texts, load_encoder(model), cache, total=total)
