"""
The judge `heuristic`, which is no LLM. It detects plain faults of an answer (empty, off topic, repetitive, cut off) and
otherwise prefers more substance. It cannot assess truth, style, or whether an instruction was followed.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import polars as pl

from curate.embeddings.encoder import Encoder, load_encoder
from curate.errors import require
from curate.schema import PAIR, empty
from curate.signals import measure
from curate.signals.pairwise import SURE
from curate.text.messages import last_user_text, one_message, text_of
from pipelines.judges.base import LocalJudge

ANSWERS_PER_BLOCK = 10_000  # measured at once; their texts, vectors and signals are in memory together
# Up to here more similarity means a more relevant answer; beyond it, mostly that the prompt is repeated …
SIMILAR = 0.6
# … and up to here more words mean a fuller answer. Most judges favour length; this one stops at this point.
ENOUGH_WORDS = 150
# An off-topic answer is worse than a short one, so similarity weighs about twice as much as length.
SIMILARITY_SHARE = 0.7
# Repetition that any text has: names, headings, loops in code.
USUAL_REPETITION = 0.1

# The answer is measured as the `chosen` side of a pair without a `rejected` side.
words = pl.col("chosen_words")
cut_off = pl.col("finish_reason") == "length"
other_language = (
    (pl.col("chosen_language") != pl.col("prompt_language"))
    & (pl.col("chosen_language_confidence") >= SURE)
    & (pl.col("prompt_language_confidence") >= SURE)
)
repetition = pl.max_horizontal("chosen_top_4gram_share", "chosen_dup_line_share", "chosen_dup_10gram_share")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of an answer: its name in the reason, the share of the score that it costs (0..1), how it is detected."""

    name: str
    cost: float
    found: pl.Expr


FAULTS = (
    Fault("empty", 1.0, pl.col("chosen_empty")),
    # A model trained on chat-template tokens in the text learns to print them.
    Fault("chat template leaks", 0.6, pl.col("chosen_template_leak")),
    Fault("broken characters", 0.5, pl.col("chosen_mojibake") | (pl.col("chosen_control_chars") > 0)),
    # A refusal can be right; then all answers to the prompt refuse and the costs cancel out.
    Fault("refuses", 0.5, pl.col("chosen_refusal")),
    # The end is missing: certainly at max_tokens, probably without final punctuation.
    Fault("cut off", 0.4, cut_off),
    Fault("stops mid-sentence", 0.3, pl.col("chosen_ends_midsentence") & cut_off.not_()),
    Fault("code block not closed", 0.2, pl.col("chosen_open_fence") & cut_off.not_()),
    # The answer continues as the user, or starts by repeating the question: a base model that completes a text.
    Fault("plays the dialogue", 0.4, pl.col("chosen_role_label")),
    Fault("repeats the prompt", 0.4, pl.col("chosen_repeats_prompt")),
    # Mild, because a translation is rightly in another language.
    Fault("in another language", 0.3, other_language),
    Fault("says it is an AI", 0.2, pl.col("chosen_ai_boilerplate")),  # a habit, not an error
)


class HeuristicJudge(LocalJudge):
    """The heuristic as a judge; its encoder is loaded for the first block (`extra.encoder` names another one)."""

    method: ClassVar[str] = "heuristic"

    def check(self, *, keys: bool = True) -> None:
        """Raise MissingExtra where sentence-transformers is not installed."""
        if find_spec("sentence_transformers") is None:
            require("sentence_transformers", "embed")

    def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Score and reason of each answer."""
        return score(answers, self._encoder)

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self.model.extra.get("encoder"))


def score(candidates: pl.DataFrame, encoder: Encoder) -> pl.DataFrame:
    """
    in : CANDIDATES
    out: row for row candidate_id, score (0..1) and reason ("similarity 0.62, 84 words, cut off")

    The score is null where the response is null. It depends on the answer and its prompt alone. Ties are frequent
    among good answers: the judge sees no difference where it finds no fault.
    """
    blocks = [_score_block(block, encoder) for block in candidates.iter_slices(ANSWERS_PER_BLOCK)]
    return pl.concat(blocks or [_score_block(candidates, encoder)])


def _score_block(candidates: pl.DataFrame, encoder: Encoder) -> pl.DataFrame:
    pairs = candidates.select(
        prompt=one_message("user", last_user_text("prompt")),  # determines topic and language
        chosen="response",
    ).with_columns(empty(PAIR, ("rejected", "chosen_score", "rejected_score", "strength")))
    measured = measure(pairs).with_columns(
        candidates.select("candidate_id", pl.col("finish_reason").fill_null("unknown")).get_columns(),
        similarity=_similarity(pairs, encoder),
    )
    answered = candidates.get_column("response").is_not_null()
    return measured.select(
        "candidate_id",
        score=pl.when(answered).then(_merit() * _soundness()),
        reason=pl.when(answered).then(_reason()),
    )


def _similarity(pairs: pl.DataFrame, encoder: Encoder) -> pl.Series:
    """Cosine similarity of prompt and answer; null where one of them is missing or blank."""
    texts = pairs.select(text_of("prompt"), text_of("chosen")).with_row_index("row")
    texts = texts.filter(pl.all_horizontal(pl.col("prompt", "chosen").str.contains(r"\S")))
    prompts, answers = (encoder.encode(texts.get_column(side).to_list()) for side in ("prompt", "chosen"))
    cosine = np.full(len(pairs), np.nan)
    # Rounded, because the last bits depend on the batch and must not decide a preference.
    cosine[texts.get_column("row").to_numpy()] = np.einsum("ij,ij->i", prompts, answers).round(4)
    return pl.Series(cosine, nan_to_null=True)


def _merit() -> pl.Expr:
    """Relevance and substance, 0..1; length alone where similarity was not measured."""
    length = (words.log1p() / pl.lit(ENOUGH_WORDS).log1p()).clip(0, 1)
    similar = (pl.col("similarity") / SIMILAR).clip(0, 1)
    return (SIMILARITY_SHARE * similar + (1 - SIMILARITY_SHARE) * length).fill_null(length)


def _soundness() -> pl.Expr:
    """1, reduced by the cost of every fault."""
    soundness = 1 - ((repetition - USUAL_REPETITION) / (1 - USUAL_REPETITION)).clip(0, 1).fill_null(0)
    for fault in FAULTS:
        soundness = soundness * pl.when(fault.found).then(1 - fault.cost).otherwise(1.0)  # null is not a fault
    return soundness


def _reason() -> pl.Expr:
    parts = [
        pl.format("similarity {}", pl.col("similarity").round(2)),
        pl.format("{} words", words),
        pl.when(repetition > USUAL_REPETITION).then(pl.format("repetition {}", repetition.cast(pl.Float64).round(2))),
        *(pl.when(fault.found).then(pl.lit(fault.name)) for fault in FAULTS),
    ]
    return pl.concat_str(parts, separator=", ", ignore_nulls=True)
