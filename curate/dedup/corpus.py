"""The pairs that a `DuplicateFinder` compares: their texts, and the vectors of these, from blocks of any source."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl

from curate.dedup.questions import Questions
from curate.dedup.tables import Frames, Read, Texts
from curate.embeddings.cache import embed
from curate.embeddings.encoder import load_encoder
from curate.engine import THREADS, Engine, sliced, starts_of
from curate.text.messages import COMPARED

# Weights of the cosine of two questions, and of that of the whole prompts, where context is shared: a question counts
# most, but the same one about another document is another one.
OF_QUESTION, OF_WHOLE = 0.7, 0.3
Embed = Callable[[Iterable[pl.Series], str | None, int], np.ndarray]  # texts, model, how many -> unit vectors


def blocks_of(frame: pl.DataFrame) -> Read:
    """Return a function that reads a frame in blocks."""
    return lambda columns: sliced(frame.select(columns))


def embed_by(texts: Iterable[pl.Series], model: str | None, total: int) -> np.ndarray:
    """Return unit vectors by `model`, or all-MiniLM-L6-v2: [total, dim] float32."""
    return embed(texts, load_encoder(model), total=total)


class BlockCorpus:
    """
    The pairs of blocks, as a `DuplicateFinder` reads them; see `dedup.finder.Corpus`.

    in : `read` returns the sides of all rows (list[message], null for rows that are not compared)
    """

    def __init__(
        self,
        read: Read,
        rows: int,
        embed: Embed = embed_by,
        engine: Engine = THREADS,
        questions: Questions | None = None,
    ) -> None:
        self._read, self.rows, self._embed, self.engine = read, rows, embed, engine
        self._questions = questions or Questions(read(("prompt",)), engine)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Self:
        """Return the corpus of a frame."""
        return cls(blocks_of(frame), len(frame))

    def beside(self, frame: pl.DataFrame) -> "BlockCorpus":
        """Return another set, to be compared with this one: it has the same contexts."""
        return BlockCorpus(blocks_of(frame), len(frame), self._embed, self.engine, self._questions)

    def only(self, rows: np.ndarray) -> "BlockCorpus":
        """Return the same rows, of which only these are compared."""
        mask = np.zeros(self.rows, bool)
        mask[rows] = True

        def read(columns: tuple[str, ...]) -> Frames:
            blocks = self._read(columns)
            masks = [pl.Series(mask[start:stop]) for start, stop in pairwise(starts_of(blocks))]
            return [block.then(partial(masked, mask=some)) for block, some in zip(blocks, masks, strict=True)]

        return BlockCorpus(read, self.rows, self._embed, self.engine)

    def texts(self, compare: str, *, whole: bool = False) -> Texts:
        """Return the texts of all rows, null for those that are not compared; context is named, or `whole`."""
        return self._texts(compare, "whole" if whole else "named")

    def vectors(self, compare: str, model: str | None, *, whole: bool = False) -> np.ndarray:
        """
        Return unit vectors of all rows, [rows, dim] float32; zeros for rows not compared and texts without a word.

        Where prompts share context and are not compared whole, each vector is that of the question beside that of the
        whole prompt, weighted.
        """
        of_whole = self._embedded(compare, "whole", model)
        if whole or not self.contexts(compare).any():
            return of_whole
        own = self._embedded(compare, "own", model)
        return np.hstack([own * np.float32(OF_QUESTION**0.5), of_whole * np.float32(OF_WHOLE**0.5)])

    def contexts(self, compare: str) -> np.ndarray:
        """Return the context of each row's prompt: uint64, 0 for none."""
        if "prompt" not in COMPARED[compare] or self._questions.contexts.is_empty():
            return np.zeros(self.rows, np.uint64)
        return self._questions.context_of(self._read(("prompt",)))

    def _embedded(self, compare: str, form: str, model: str | None) -> np.ndarray:
        return self._embed((block.read() for block in self._texts(compare, form)), model, self.rows)

    def _texts(self, compare: str, form: str) -> Texts:
        return self._questions.texts(self._read(COMPARED[compare]), compare, form)


def masked(frame: pl.DataFrame, mask: pl.Series) -> pl.DataFrame:
    """Return the frame with nulls in the rows that are not in the mask."""
    return frame.with_columns(pl.when(mask).then(pl.all()).name.keep())
