"""
What a prompt asks: its text without the system message and without context that many prompts share.

Prompts are compared by it (near, semantic, clusters of the split), so that a long document, or long instructions, do
not make all questions about it similar. Duplicates and contradictions in the strict sense compare whole prompts.
"""

from functools import cached_property, partial

import numpy as np
import polars as pl

from curate.dedup.contexts import shared_contexts, split_lines, with_unit
from curate.dedup.tables import Frames, Texts
from curate.engine import THREADS, Block, Engine
from curate.text.messages import COMPARED, text_of

NOT_ASKED = ("system", "developer")
MOSTLY = 0.5  # share of a prompt's bytes; less context than that does not decide how similar two prompts are
# Context is named by numbers made of its hash, so that the same question about other documents is another question:
# one number for so many words of the question, from 2 to 10.
WORDS_PER_NUMBER, FEWEST, MOST = 5, 2, 10


class Questions:
    """
    The texts by which prompts are compared, of one set and of others beside it.

    in : blocks with the column `prompt` (list[message]; rows that are null do not count)

    Forms: `named` compares words, a few numbers stand for the context; `own` is without context; `whole` is with it.
    A prompt that is nothing but context is compared whole in each.
    """

    def __init__(self, blocks: Frames, engine: Engine = THREADS) -> None:
        self._blocks, self._engine = blocks, engine

    @cached_property
    def contexts(self) -> pl.Series:
        """The hashes of all contexts (u64)."""
        return shared_contexts([block.then(asked) for block in self._blocks], self._engine)

    def texts(self, blocks: Frames, compare: str, form: str = "named") -> Texts:
        """Return the text of every pair to compare: a key of COMPARED -> str, null where a side is null."""
        without = self.contexts if COMPARED[compare][0] == "prompt" and form != "whole" else None
        return [block.then(partial(_compared, compare=compare, form=form, contexts=without)) for block in blocks]

    def context_of(self, blocks: Frames) -> np.ndarray:
        """Return the hash of the context that `own` leaves out of each row's prompt: u64, 0 for none."""
        found = self._engine.map(partial(_contexts, contexts=self.contexts), blocks)
        return np.concatenate([np.zeros(0, np.uint64), *(one.to_numpy() for one in found)])


def _compared(frame: pl.DataFrame, compare: str, form: str, contexts: pl.Series | None) -> pl.Series:
    first, *others = COMPARED[compare]
    text = asked(frame) if first == "prompt" else frame.select(text_of(first)).to_series()
    if contexts is not None and len(contexts):
        text = _forms(text, contexts).get_column(form)
    return frame.select(text=pl.concat_str([text, *map(text_of, others)], separator="\n\n")).to_series()


def _contexts(block: Block[pl.DataFrame], contexts: pl.Series) -> pl.Series:
    return _forms(asked(block.read()), contexts).get_column("context").fill_null(0)


def _forms(texts: pl.Series, contexts: pl.Series) -> pl.DataFrame:
    """Return named and own (the text itself where there is no context) and context, one row per text."""
    frame = texts.alias("text").to_frame()
    distinct = frame.unique(maintain_order=True)
    without = _without(distinct.get_column("text"), contexts)
    forms = (
        distinct.with_row_index("row")
        .join(without, on="row", how="left", maintain_order="left")
        .select(
            "text",
            "context",
            named=pl.coalesce(pl.concat_str("own", "name", separator="\n"), "text"),
            own=pl.coalesce("own", "text"),
        )
    )
    return frame.join(forms, on="text", how="left", maintain_order="left", nulls_equal=True)


def asked(frame: pl.DataFrame) -> pl.Series:
    """Return the texts of prompts without system messages; of a prompt without other messages, its whole text."""
    others = pl.element().filter(~pl.element().struct.field("role").is_in(NOT_ASKED))
    frame = frame.select("prompt", others=pl.col("prompt").list.eval(others))
    only_system = pl.col("others").list.len() == 0
    return frame.select(text=pl.when(only_system).then(text_of("prompt")).otherwise(text_of("others"))).to_series()


def _without(texts: pl.Series, contexts: pl.Series) -> pl.DataFrame:
    """
    Return row, own (the text without context), context (its hash) and name (words made of it).

    Texts that are not mostly context, or nothing else, are left out.
    """
    lines = with_unit(split_lines(texts), contexts)
    own = pl.col("unit").is_null()
    rows = lines.group_by("row", maintain_order=True).agg(
        own=pl.col("text").filter(own).str.join("\n"),
        words=pl.col("words").filter(own).sum(),
        context=pl.col("unit").unique().sum(),
        share=pl.col("size").filter(~own).sum() / pl.col("size").sum(),
    )
    rows = rows.filter(pl.col("words") > 0, pl.col("share") > MOSTLY)
    numbers = (pl.col("words") // WORDS_PER_NUMBER).clip(FEWEST, MOST)
    digits = pl.col("context").cast(pl.String).str.zfill(2 * MOST).str.replace_all(r"(\d\d)", "$1 ")
    return rows.select("row", "own", "context", name=digits.str.head(3 * numbers))
