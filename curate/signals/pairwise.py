"""
What only shows when the two responses, their prompt and their scores are seen together.

The expressions read the columns of PAIR, the texts (`prompt_text`, `chosen_text`, `rejected_text`, `asked` = the last
user turn) and the signals of each side, which are all there when they are evaluated.
"""

import numpy as np
import polars as pl

from curate.signals.base import Signal
from curate.text.arrays import GOLDEN
from curate.text.tokens import HASH_MASK, Tokens, row_of

SURE = 0.7  # confidence from which a language counts as known
BEGINNING_CHARS = 40  # a shorter beginning may be a whole answer ("Yes")
ECHO_CHARS = 20  # a prompt shorter than this may well begin an answer to it
# On the roles of prompt and response written one after the other, "user,assistant,user,assistant,".
ROLES_BROKEN = "|".join(
    (
        "user,user,|assistant,assistant,",
        "(?:user|assistant|tool),(?:system|developer),",
        "^(?:system,|developer,)*(?:assistant|tool),",
    )
)

chosen, rejected = pl.col("chosen_text"), pl.col("rejected_text")

WORD_ABOUT = {
    "word_jaccard": "Distinct words that both responses have over those that either has; null when neither has any.",
    "identical_normalized": "The same words in the same order: only spacing and punctuation differ.",
}


def identical() -> pl.Expr:
    """The responses are the same text."""
    return chosen == rejected


def chars_ratio() -> pl.Expr:
    """The longer response over the shorter, in characters; null when one is empty."""
    shorter = pl.min_horizontal("chosen_chars", "rejected_chars")
    longer = pl.max_horizontal("chosen_chars", "rejected_chars")
    return (longer / pl.when(shorter > 0).then(shorter)).cast(pl.Float32)


def truncated() -> pl.Expr:
    """One response is the beginning of the other (40 characters or more of it) and stops inside a sentence of it."""
    a, b = chosen.str.strip_chars(), rejected.str.strip_chars()
    a_is_shorter = a.str.len_bytes() < b.str.len_bytes()
    shorter, longer = pl.when(a_is_shorter).then(a).otherwise(b), pl.when(a_is_shorter).then(b).otherwise(a)
    goes_on = longer.str.slice(shorter.str.len_chars(), 2).str.contains(r"\A ?[\p{L}\p{N}]")
    stopped = shorter.str.tail(1).str.contains(r"[.!?:…。！？]")
    return longer.str.starts_with(shorter) & goes_on & ~stopped & (shorter.str.len_chars() >= BEGINNING_CHARS)


def chosen_repeats_prompt() -> pl.Expr:
    """Chosen begins with the whole last user turn; null for turns of fewer than 20 characters."""
    return _echoes(chosen)


def rejected_repeats_prompt() -> pl.Expr:
    """Rejected begins with the whole last user turn; null for turns of fewer than 20 characters."""
    return _echoes(rejected)


def _echoes(response: pl.Expr) -> pl.Expr:
    asked = pl.col("asked").str.strip_chars()
    return pl.when(asked.str.len_chars() >= ECHO_CHARS).then(response.str.strip_chars_start().str.starts_with(asked))


def languages_differ() -> pl.Expr:
    """Chosen and rejected are in different languages, each with a confidence of 0.7 or more; null below that."""
    sure = (pl.col("chosen_language_confidence") >= SURE) & (pl.col("rejected_language_confidence") >= SURE)
    return pl.when(sure).then(pl.col("chosen_language") != pl.col("rejected_language"))


def think_differs() -> pl.Expr:
    """Only one of the responses holds a reasoning block (<think>)."""
    return pl.col("chosen_think") != pl.col("rejected_think")


def refusal_differs() -> pl.Expr:
    """Only one of the responses is a refusal."""
    return pl.col("chosen_refusal") != pl.col("rejected_refusal")


def roles_broken() -> pl.Expr:
    """User and assistant do not take turns, or a system turn is not the first one."""
    return pl.any_horizontal(_roles("prompt", side).str.contains(ROLES_BROKEN) for side in ("chosen", "rejected"))


def prompt_not_from_user() -> pl.Expr:
    """The last turn of the prompt is not the user's."""
    other = pl.col("prompt").list.last().struct.field("role").ne_missing("user")  # an empty prompt has no last turn
    return pl.when(pl.col("prompt").is_not_null()).then(other)


def prompt_turns() -> pl.Expr:
    """Messages in the prompt, a system message included."""
    return pl.col("prompt").list.len()


def response_turns() -> pl.Expr:
    """Messages in the longer of the two responses: more than one where the dialogues part before their last turn."""
    return pl.max_horizontal(pl.col("chosen").list.len(), pl.col("rejected").list.len())


def tie() -> pl.Expr:
    """Both scores are the same; null without scores."""
    return pl.col("chosen_score") == pl.col("rejected_score")


def margin() -> pl.Expr:
    """Score of chosen minus score of rejected, on the source's scale; null without scores."""
    return pl.col("chosen_score") - pl.col("rejected_score")


def scores_contradict() -> pl.Expr:
    """Rejected has the higher score; null without scores."""
    return pl.col("chosen_score") < pl.col("rejected_score")


def strength() -> pl.Expr:
    """How strong the preference is, 0..1, where the source says so."""
    return pl.col("strength")


def _roles(*columns: str) -> pl.Expr:
    roles = (pl.col(column).list.eval(pl.element().struct.field("role") + ",").list.join("") for column in columns)
    return pl.concat_str(roles)


def compare_words(texts: pl.Series, tokens: Tokens, chosen_at: np.ndarray, rejected_at: np.ndarray) -> pl.DataFrame:
    """
    in : texts and their words; for every pair the places of its responses among them
    out: one row a pair, the columns of WORD_ABOUT
    """
    pairs = len(chosen_at)
    a, b = tokens.vocabulary_of(chosen_at), tokens.vocabulary_of(rejected_at)
    found = a == np.append(b, 0)[np.searchsorted(b, a)]
    shared = np.bincount(row_of(a[found]), minlength=pairs)
    either = np.bincount(row_of(a), minlength=pairs) + np.bincount(row_of(b), minlength=pairs) - shared
    jaccard = np.divide(shared, either, out=np.full(pairs, np.nan), where=either > 0)
    # Normalising is slow, and only responses with the same words in the same order can come out equal.
    signature = _signature(tokens)
    same = pl.Series(signature[chosen_at] == signature[rejected_at])
    alike = same.arg_true()
    if len(alike):
        sides = (texts.gather(places[alike.to_numpy()]) for places in (chosen_at, rejected_at))
        left, right = (side.alias("text").to_frame().select(_normalized(pl.col("text"))).to_series() for side in sides)
        same = same.scatter(alike, left == right)
    return pl.DataFrame(
        {
            "word_jaccard": pl.Series(jaccard, dtype=pl.Float32, nan_to_null=True),
            "identical_normalized": same,
        }
    )


def _normalized(text: pl.Expr) -> pl.Expr:
    # Case stays: of 23 real pairs that differed in no more than it, 9 had letter case as their task.
    # Of the rest only marks of punctuation go: "1 + 1" and "1 - 1" stay different.
    return text.str.replace_all(r"[\s.,;:!?'\"“”‘’«»¿¡…。，、！？：；*_`]+", "")


def _signature(tokens: Tokens) -> np.ndarray:
    """One number a row that depends on its words and their order."""
    place = np.arange(len(tokens.hashes), dtype=np.uint64) - np.repeat(
        (np.cumsum(tokens.counts) - tokens.counts).astype(np.uint64), tokens.counts
    )
    placed = (tokens.hashes ^ (place * GOLDEN)) * GOLDEN & HASH_MASK
    sums = np.append(np.uint64(0), np.cumsum(placed, dtype=np.uint64))
    ends = np.cumsum(tokens.counts)
    signature: np.ndarray = sums[ends] - sums[ends - tokens.counts] + tokens.counts.astype(np.uint64)
    return signature


PAIR = (
    Signal.of_pair(identical),
    Signal.of_pair(chars_ratio, charted=True, on_card=True),
    Signal.of_pair(truncated),
    Signal.of_pair(chosen_repeats_prompt),
    Signal.of_pair(rejected_repeats_prompt),
    Signal.of_pair(languages_differ),
    Signal.of_pair(think_differs),
    Signal.of_pair(refusal_differs),
    Signal.of_pair(roles_broken),
    Signal.of_pair(prompt_not_from_user),
    Signal.of_pair(prompt_turns),
    Signal.of_pair(response_turns, charted=True, on_card=True),
    Signal.of_pair(tie),
    Signal.of_pair(margin, charted=True, on_card=True),
    Signal.of_pair(scores_contradict),
    Signal.of_pair(strength, charted=True, on_card=True),
)
WORDS = (
    Signal("word_jaccard", WORD_ABOUT["word_jaccard"], compare_words, "words", charted=True, on_card=True),
    Signal("identical_normalized", WORD_ABOUT["identical_normalized"], compare_words, "words"),
)
