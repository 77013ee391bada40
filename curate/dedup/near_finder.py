"""Near-duplicates (`dedup.near`): texts that share most of their word n-grams, by MinHash and verified Jaccard."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from curate.dedup.clusters import components
from curate.dedup.finder import Corpus, FinderSection
from curate.dedup.jaccard import similarities
from curate.dedup.near_edges import near_edges
from curate.dedup.tables import MATCHES, in_one_context, joined_edges
from curate.schema.section import COUNT, Compared

Bands = Annotated[int, Field(ge=1, le=1000)]
OPTIONS = {"threshold", "shingle_size", "bands"}  # of `near_edges`
MOST_MINIMA = 4096  # per text: 16 KB


class Near(FinderSection):
    """Near-duplicates: texts that share most of their word n-grams, whatever their case, spaces and punctuation."""

    compare: Compared = Field("prompt", description="Which text of a pair")
    threshold: float = Field(0.8, ge=0.01, le=1, description="Least Jaccard similarity of the n-grams")
    shingle_size: int = Field(3, ge=1, le=100, description="Words per n-gram; characters in scripts without spaces")
    bands: tuple[Bands, Bands] | None = Field(
        None, description="MinHash: number of bands, and minima per band; null = derived from the threshold"
    )
    max_per_cluster: int | None = Field(
        1,
        ge=1,
        le=COUNT,
        description="Prompts kept per cluster, with all their pairs (pairs if responses count); null = all",
    )

    @model_validator(mode="after")
    def _few_minima(self) -> "Near":
        if self.bands and math.prod(self.bands) > MOST_MINIMA:
            raise ValueError(f"bands: {math.prod(self.bands):,} minima per text; expected at most {MOST_MINIMA:,}")
        return self


class NearFinder:
    """MinHash with LSH bands finds candidates; their Jaccard similarity decides. Clusters are connected components."""

    section: ClassVar = Near
    about: ClassVar = (
        "a pair that is kept has nearly the same words, or is linked to it by others (their own similarity, the value, "
        "may then lie below the threshold)"
    )

    def __init__(self, settings: Near, corpus: Corpus) -> None:
        self._settings, self._corpus = settings, corpus

    def edges(self) -> pl.DataFrame:
        """Return verified EDGES of the texts."""
        contexts = self._corpus.contexts(self._settings.compare)
        return self._edges([self._corpus], contexts)

    def _edges(self, sets: Sequence[Corpus], contexts: np.ndarray) -> pl.DataFrame:
        """Return verified EDGES of the texts of several sets, one after the other."""
        compare, options = self._settings.compare, self._settings.model_dump(include=OPTIONS)

        def edges(*, whole: bool) -> pl.DataFrame:
            blocks = [block for one in sets for block in one.texts(compare, whole=whole)]
            return near_edges(blocks, **options, engine=self._corpus.engine)

        found = edges(whole=True)
        return joined_edges(edges(whole=False), found, contexts) if contexts.any() else found

    def clusters(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return the connected components."""
        linked = np.unique(np.concatenate([edges.get_column(end).to_numpy() for end in ("row_a", "row_b")]))
        cluster = components(self._corpus.rows, edges)[linked.astype(np.int64)]
        return pl.DataFrame({"row": linked, "cluster": cluster}, schema={"row": pl.UInt64(), "cluster": pl.UInt64()})

    def similarity(self, pairs: pl.DataFrame) -> pl.Series:
        """Return the Jaccard similarities of the n-grams."""
        compare, size = self._settings.compare, self._settings.shingle_size
        rows = pairs.select(row_a="row", row_b="duplicate_of").with_row_index("place")
        both = in_one_context(rows, self._corpus.contexts(compare), "row_a", "row_b")

        def measured(some: pl.DataFrame, *, whole: bool) -> pl.DataFrame:
            texts = self._corpus.texts(compare, whole=whole)
            found = similarities(texts, some, size=size, engine=self._corpus.engine)
            return some.select("place", found.get_column("similarity"))

        parts = [measured(rows.filter(~both), whole=True), measured(rows.filter(both), whole=False)]
        return pl.concat(parts).sort("place").get_column("similarity")

    def against(self, others: Corpus) -> pl.DataFrame:
        """Return MATCHES, by comparing their texts and ours as one set."""
        sets, count = [others, self._corpus], others.rows
        edges = self._edges(sets, np.concatenate([one.contexts(self._settings.compare) for one in sets]))
        across = edges.filter(pl.col("row_a") < count, pl.col("row_b") >= count)
        # Among ours of the same words only the first is compared with theirs; its matches are those of its copies.
        same = edges.filter(pl.col("row_a") >= count, pl.col("similarity") == 1).select("row_a", copy="row_b")
        first = across.select("row_b", other_row="row_a", of_first="similarity")
        copies = same.join(first, left_on="row_a", right_on="row_b").select(
            row="copy", other_row="other_row", similarity="of_first"
        )
        direct = across.select(row="row_b", other_row="row_a", similarity="similarity")
        found = pl.concat([direct, copies]).sort("row", "similarity", "other_row", descending=[False, True, False])
        return found.unique("row", maintain_order=True).with_columns(pl.col("row") - count).match_to_schema(MATCHES)
