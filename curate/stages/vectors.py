"""The remaining pairs of a run as a corpus: their texts and embeddings, which are cached in the run per model."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from curate.dedup.tables import Blocks
from curate.embeddings.cache import embed
from curate.embeddings.encoder import DEFAULT, load_encoder
from curate.rundir.store import STAGES, Store, fingerprint
from curate.stages.remaining import Remaining


class RunCorpus:
    """The corpus of a run for a `DuplicateFinder`: see `dedup.finder.Corpus`."""

    def __init__(self, store: Store, remaining: Remaining) -> None:
        self._store, self._remaining = store, remaining
        self.rows = len(remaining.mask)

    def texts(self, compare: str) -> Blocks:
        """Return the texts of all rows; null for dropped ones."""
        return self._remaining.texts(compare)

    def vectors(self, compare: str, model: str | None) -> np.ndarray:
        """Return the unit vectors of the texts; zeros for dropped rows and for texts without content."""
        return embedded(self._store, self.texts(compare)(), model, self.rows)


class TextCorpus:
    """A corpus of given texts, whatever is compared."""

    def __init__(self, store: Store, texts: Blocks, rows: int) -> None:
        self._store, self._texts, self.rows = store, texts, rows

    def texts(self, compare: str) -> Blocks:
        """Return the texts."""
        return self._texts

    def vectors(self, compare: str, model: str | None) -> np.ndarray:
        """Return the unit vectors of the texts."""
        return embedded(self._store, self._texts(), model, self.rows)


def embedded(store: Store, texts: Iterable[pl.Series], model: str | None, total: int) -> np.ndarray:
    """Return unit vectors of texts, [total, dim] float32, from the run's cache where available."""
    cache = store.folder / STAGES / "embeddings" / f"{fingerprint(model or DEFAULT)[:16]}.bin"
    return embed(texts, load_encoder(model), cache, total=total)
