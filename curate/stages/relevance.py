"""The relevance of pairs to the examples that a selection names: examples → texts → vectors → 0..1 per pair."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from curate.dedup.corpus import BlockCorpus
from curate.errors import InputError, RecipeError
from curate.schema import MESSAGES
from curate.selection.relevance import background, relevance
from curate.selection.step_sections import Like
from curate.signals.language import language
from curate.sources import read
from curate.sources.input import Feed, open_feeds
from curate.sources.prompts import read_prompts
from curate.text.messages import COMPARED, compared_text, one_message

MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
CONFIDENT = 0.7  # a language that counts


def example_feeds(settings: Like) -> list[Feed]:
    """Return the inputs with examples."""
    return open_feeds(list(settings.examples)) if settings.examples else []


def relevance_of(settings: Like, corpus: BlockCorpus, model: str | None) -> np.ndarray:
    """
    Return the relevance of every row of the corpus, 0..1, NaN for rows without text.

    Raises InputError for examples without text, and RecipeError for examples that the default model cannot read.
    """
    examples = _examples(settings)
    _check_language(examples, settings.compare, model)
    general = _frame(background(), settings.compare)
    vectors, shown, others = (
        one.vectors(settings.compare, model, whole=True)
        for one in (corpus, corpus.beside(examples), corpus.beside(general))
    )
    return relevance(vectors, shown[shown.any(axis=1)], others)


def _examples(settings: Like) -> pl.DataFrame:
    """Return the compared sides of all examples."""
    files = [block for feed in example_feeds(settings) for block in _read(feed, settings.compare)]
    texts = [text for text in settings.texts if text.strip()]
    frame = pl.concat([_frame(texts, settings.compare), *files])
    text = frame.select(compared_text(settings.compare).alias("text")).to_series().fill_null("")
    found = frame.filter(text.str.contains(r"[\p{L}\p{N}]"))
    if found.is_empty():
        raise InputError(f"select: {', '.join(settings.examples) or 'texts'}: there are no examples, or none has words")
    return found


def _read(feed: Feed, compare: str) -> Iterator[pl.DataFrame]:
    for block, _ in read_prompts(feed) if compare == "prompt" else read(feed):
        broken = block.filter(pl.col("problem") == "broken_row")
        if len(broken):
            raise InputError(f"select: {feed.name}: {broken.item(0, 'detail')}")
        yield block.select(COMPARED[compare])


def _frame(texts: list[str], compare: str) -> pl.DataFrame:
    """Return texts as the first compared side; the others are empty."""
    first, *others = COMPARED[compare]
    role = "user" if first == "prompt" else "assistant"
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    empty = [pl.lit([], MESSAGES).alias(name) for name in others]
    return frame.select(one_message(role, pl.col("text")).alias(first), *empty)


def _check_language(examples: pl.DataFrame, compare: str, model: str | None) -> None:
    if model is not None:
        return
    measured = language(examples.select(compared_text(compare).alias("text")).to_series())
    known = measured.filter(pl.col("language_confidence") >= CONFIDENT).get_column("language")
    others = known.filter(known != "en")
    if 2 * len(others) > max(len(known), 1):
        found = str(others.mode().sort().first())
        raise RecipeError(
            f"select: most examples are in another language ({found}), and the default model reads English only. "
            f"Name one that reads it, as in select.model={MULTILINGUAL}"
        )
