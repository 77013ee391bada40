"""
The judge `heuristic`: no LLM. It sees what is plainly wrong with an answer (empty, off the topic, in circles, cut off)
and prefers some substance to none. It knows nothing of truth, of style, or of whether an instruction was followed.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.embeddings.encoder import Encoder
from curate.schema import PAIR, empty
from curate.signals import measure
from curate.signals.pairwise import SURE
from curate.text.messages import last_user_text, one_message, text_of

BLOCK = 10_000  # answers measured at once: their texts, vectors and signals lie in memory together
# Up to here more similarity means more to the point, above it mostly that the prompt's words are said again …
SIMILAR = 0.6
# … and up to here more words mean more of an answer. Judges of all kinds like length; this one stops liking it.
ENOUGH_WORDS = 150
# An answer about something else is worse than a short one, so similarity weighs twice as much.
SIMILARITY_SHARE = 0.7
# What any text repeats without going in circles: names, headings, the code of a loop.
USUAL_REPETITION = 0.1

# The answer is measured as the `chosen` side of a pair whose other side is not there.
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
    """What is wrong with an answer, as the reason says it, and the share of the score that it costs (0..1)."""

    said: str
    cost: float
    found: pl.Expr


FAULTS = (
    Fault("empty", 1.0, pl.col("chosen_empty")),  # no answer at all
    # Machinery in the text: whoever trains on it learns to print it.
    Fault("chat template leaks", 0.6, pl.col("chosen_template_leak")),
    Fault("broken characters", 0.5, pl.col("chosen_mojibake") | (pl.col("chosen_control_chars") > 0)),
    # Declining is at times right, and then all answers to the prompt decline alike and the cost cancels out.
    Fault("refuses", 0.5, pl.col("chosen_refusal")),
    # The beginning may be good, but the end is missing: surely at max_tokens, probably without a full stop.
    Fault("cut off", 0.4, cut_off),
    Fault("stops mid-sentence", 0.3, pl.col("chosen_ends_midsentence") & cut_off.not_()),
    Fault("code block not closed", 0.2, pl.col("chosen_open_fence") & cut_off.not_()),
    # It goes on to play the user, or begins by saying the question again: a base model that completes a text.
    Fault("plays the dialogue", 0.4, pl.col("chosen_role_label")),
    Fault("repeats the prompt", 0.4, pl.col("chosen_repeats_prompt")),
    # Mild, because a translation is in another language and right.
    Fault("in another language", 0.3, other_language),
    Fault("says it is an AI", 0.2, pl.col("chosen_ai_boilerplate")),  # a habit, not an error
)


def score(candidates: pl.DataFrame, encoder: Encoder) -> pl.DataFrame:
    """
    in : CANDIDATES
    out: row for row candidate_id, score (0..1) and reason ("similarity 0.62, 84 words, cut off").

    Null for a response that is null. An answer's score depends on itself and its prompt alone. Ties are frequent
    among good answers: the judge sees no difference where nothing is wrong.
    """
    blocks = [_score_block(block, encoder) for block in candidates.iter_slices(BLOCK)]
    return pl.concat(blocks or [_score_block(candidates, encoder)])


def _score_block(candidates: pl.DataFrame, encoder: Encoder) -> pl.DataFrame:
    pairs = candidates.select(
        prompt=one_message("user", last_user_text("prompt")),  # what the answer is to be about, and its language
        chosen="response",
    ).with_columns(empty(PAIR, ("rejected", "chosen_score", "rejected_score", "strength")))
    measured = measure(pairs).with_columns(
        candidates.select("candidate_id", pl.col("finish_reason").fill_null("not said")).get_columns(),
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
    # Rounded to what is meant: the last bits depend on the batch, and no preference may hang on them.
    cosine[texts.get_column("row").to_numpy()] = np.einsum("ij,ij->i", prompts, answers).round(4)
    return pl.Series(cosine, nan_to_null=True)


def _merit() -> pl.Expr:
    """To the point and of some substance, 0..1; by its length alone where similarity was not measured."""
    length = (words.log1p() / pl.lit(ENOUGH_WORDS).log1p()).clip(0, 1)
    similar = (pl.col("similarity") / SIMILAR).clip(0, 1)
    return (SIMILARITY_SHARE * similar + (1 - SIMILARITY_SHARE) * length).fill_null(length)


def _soundness() -> pl.Expr:
    """What is left of 1 after every fault has taken its share."""
    left = 1 - ((repetition - USUAL_REPETITION) / (1 - USUAL_REPETITION)).clip(0, 1).fill_null(0)
    for fault in FAULTS:
        left = left * pl.when(fault.found).then(1 - fault.cost).otherwise(1.0)  # not measured is no fault
    return left


def _reason() -> pl.Expr:
    said = [
        pl.format("similarity {}", pl.col("similarity").round(2)),
        pl.format("{} words", words),
        pl.when(repetition > USUAL_REPETITION).then(pl.format("repetition {}", repetition.cast(pl.Float64).round(2))),
        *(pl.when(fault.found).then(pl.lit(fault.said)) for fault in FAULTS),
    ]
    return pl.concat_str(said, separator=", ", ignore_nulls=True)
