"""Semantic duplicates (`dedup.semantic`): texts whose embeddings have a high cosine, whatever their words."""

from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from curate.dedup.finder import Corpus, FinderSection
from curate.dedup.semantic_edges import semantic_edges, semantic_matches, star_clusters
from curate.dedup.tables import joined_edges
from curate.embeddings.cosine import cosines
from curate.schema.section import COUNT, NAME, Compared


class Semantic(FinderSection):
    """Duplicates by meaning: texts whose embeddings have a high cosine similarity (extra: embed)."""

    compare: Compared = Field("prompt", description="Which text of a pair")
    model: Annotated[str | None, NAME] = Field(
        None, description="Folder or Hub id of a sentence-transformers model; null = MiniLM"
    )
    threshold: float = Field(0.9, gt=0, le=1, description="Least cosine similarity")
    max_per_cluster: int | None = Field(1, ge=1, le=COUNT, description="As for near")


class SemanticFinder:
    """Embeddings are compared by cosine, in full or by IVF search. Clusters are stars around their densest row."""

    section: ClassVar = Semantic
    about: ClassVar = (
        "a pair that is kept says nearly the same in other words, or both are similar to a third one (their own "
        "similarity, the value, may then lie below the threshold)"
    )

    def __init__(self, settings: Semantic, corpus: Corpus) -> None:
        self._settings, self._corpus = settings, corpus

    def edges(self) -> pl.DataFrame:
        """Return EDGES of the embeddings, verified in float64."""
        threshold = self._settings.threshold
        found = semantic_edges(self._whole, threshold=threshold)
        if not self._contexts.any():
            return found
        return joined_edges(semantic_edges(self._vectors, threshold=threshold), found, self._contexts)

    def clusters(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return clusters in which every row is similar to the centre, so that chains are split."""
        return star_clusters(edges, self._vectors, self._settings.threshold).select("row", "cluster")

    def similarity(self, pairs: pl.DataFrame) -> pl.Series:
        """Return cosines."""
        a, b = (pairs.get_column(name).to_numpy().astype(np.int64) for name in ("row", "duplicate_of"))
        both = (self._contexts[a] == self._contexts[b]) & (self._contexts[a] > 0)
        whole, asked = (cosines(vectors, a, vectors, b) for vectors in (self._whole, self._vectors))
        return pl.Series(np.where(both, asked, whole))

    def against(self, others: Corpus) -> pl.DataFrame:
        """Return MATCHES with their embeddings."""
        theirs = others.vectors(self._settings.compare, self._settings.model)
        return semantic_matches(self._vectors, theirs, threshold=self._settings.threshold)

    @cached_property
    def _contexts(self) -> np.ndarray:
        return self._corpus.contexts(self._settings.compare)

    @cached_property
    def _whole(self) -> np.ndarray:
        return self._corpus.vectors(self._settings.compare, self._settings.model, whole=True)

    @cached_property
    def _vectors(self) -> np.ndarray:
        return (
            self._corpus.vectors(self._settings.compare, self._settings.model) if self._contexts.any() else self._whole
        )
