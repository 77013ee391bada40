"""
Signals of the whole pair: comparisons of the two responses, their prompt and their scores.

The expressions read the columns of PAIR, the texts (`prompt_text`, `chosen_text`, `rejected_text`, `asked` = the last
user turn) and the signals of each side, all of which exist before these are evaluated.
"""

import numpy as np
import polars as pl

from curate.signals.base import Signal
from curate.signals.calls import has_field
from curate.signals.formatting import differ_in_form_only
from curate.text.arrays import GOLDEN
from curate.text.tokens import Tokens, row_of

SURE = 0.7  # confidence from which a language counts as known
PREFIX_CHARS = 40  # a shorter prefix may be a complete answer ("Yes")
ECHO_CHARS = 20  # an answer may legitimately start with a prompt shorter than this
# Matched against the roles of prompt and response in order: "user,assistant,user,assistant,".
ROLES_BROKEN = "|".join(
    (
        "user,user,|assistant,assistant,",
        "(?:user|assistant|tool),(?:system|developer),",
        "^(?:system,|developer,)*(?:assistant|tool),",
    )
)

chosen, rejected = pl.col("chosen_text"), pl.col("rejected_text")

WORD_ABOUT = {
    "word_jaccard": "Distinct words in both responses over distinct words in either; null when neither has any.",
    "identical_normalized": (
        "Same words in the same order and the same marks: the responses differ at most in white space, emphasis, the "
        "shape of quotation marks and, in prose, marks between clauses. With code, mathematics or a prompt about form "
        "all marks count."
    ),
}


def identical() -> pl.Expr:
    """The responses are the same text, with the same calls of tools."""
    return chosen == rejected


def chars_ratio() -> pl.Expr:
    """Length of the longer response over that of the shorter, in characters; null when one is empty."""
    shorter = pl.min_horizontal("chosen_chars", "rejected_chars")
    longer = pl.max_horizontal("chosen_chars", "rejected_chars")
    return (longer / pl.when(shorter > 0).then(shorter)).cast(pl.Float32)


def truncated() -> pl.Expr:
    """One response is a prefix of the other, 40 characters or longer, and ends inside a sentence of it."""
    a, b = chosen.str.strip_chars(), rejected.str.strip_chars()
    a_is_shorter = a.str.len_bytes() < b.str.len_bytes()
    shorter, longer = pl.when(a_is_shorter).then(a).otherwise(b), pl.when(a_is_shorter).then(b).otherwise(a)
    prefix = longer.str.starts_with(shorter)
    start = pl.when(prefix).then(shorter)  # mostly null, and the rest skips nulls
    continues = longer.str.slice(start.str.len_chars(), 2).str.contains(r"\A ?[\p{L}\p{N}]")
    stopped = start.str.tail(1).str.contains(r"[.!?:…。！？]")
    cut = continues & ~stopped & (start.str.len_chars() >= PREFIX_CHARS)
    return pl.when(prefix).then(cut).otherwise(prefix)


def chosen_repeats_prompt() -> pl.Expr:
    """Chosen starts with the whole last user turn; null for turns of fewer than 20 characters."""
    return _echoes(chosen)


def rejected_repeats_prompt() -> pl.Expr:
    """Rejected starts with the whole last user turn; null for turns of fewer than 20 characters."""
    return _echoes(rejected)


def _echoes(response: pl.Expr) -> pl.Expr:
    asked = pl.col("asked").str.strip_chars()
    return pl.when(asked.str.len_chars() >= ECHO_CHARS).then(response.str.strip_chars_start().str.starts_with(asked))


def languages_differ() -> pl.Expr:
    """Chosen and rejected are in different languages, each with a confidence of 0.7 or more; null below that."""
    sure = (pl.col("chosen_language_confidence") >= SURE) & (pl.col("rejected_language_confidence") >= SURE)
    return pl.when(sure).then(pl.col("chosen_language") != pl.col("rejected_language"))


def think_differs() -> pl.Expr:
    """Only one of the responses contains a reasoning block (<think>), or has reasoning apart from its text."""
    thinks = {side: pl.col(f"{side}_think") | has_field(side, "reasoning") for side in ("chosen", "rejected")}
    return thinks["chosen"] != thinks["rejected"]


def refusal_differs() -> pl.Expr:
    """Only one of the responses is a refusal."""
    return pl.col("chosen_refusal") != pl.col("rejected_refusal")


def roles_broken() -> pl.Expr:
    """User and assistant do not alternate, or a system turn is not the first turn."""

    def roles(*columns: str) -> pl.Expr:
        return pl.concat_str(
            pl.col(name).list.eval(pl.element().struct.field("role") + ",").list.join("") for name in columns
        )

    return pl.any_horizontal(roles("prompt", side).str.contains(ROLES_BROKEN) for side in ("chosen", "rejected"))


def prompt_not_from_user() -> pl.Expr:
    """The last turn of the prompt is neither the user's nor the result of a tool."""
    last = pl.col("prompt").list.last().struct.field("role")
    answered = last.is_in(("user", "tool")).fill_null(value=False)  # an empty prompt has no last turn
    return pl.when(pl.col("prompt").is_not_null()).then(~answered)


def prompt_turns() -> pl.Expr:
    """Number of messages in the prompt, including a system message."""
    return pl.col("prompt").list.len()


def response_turns() -> pl.Expr:
    """Number of messages in the longer response: more than one where the dialogues diverge before the last turn."""
    return pl.max_horizontal(pl.col("chosen").list.len(), pl.col("rejected").list.len())


def tie() -> pl.Expr:
    """Both scores are equal; null without scores."""
    return pl.col("chosen_score") == pl.col("rejected_score")


def margin() -> pl.Expr:
    """Score of chosen minus score of rejected, on the scale of the source; null without scores."""
    return pl.col("chosen_score") - pl.col("rejected_score")


def scores_contradict() -> pl.Expr:
    """Rejected has the higher score; null without scores."""
    return pl.col("chosen_score") < pl.col("rejected_score")


def strength() -> pl.Expr:
    """Strength of the preference, 0 to 1; null where the source does not give it."""
    return pl.col("strength")


def compare_words(
    texts: pl.Series, tokens: Tokens, prompt_at: np.ndarray, chosen_at: np.ndarray, rejected_at: np.ndarray
) -> pl.DataFrame:
    """
    Compare the words of the two responses.

    in : texts and their words; for every pair the indices of its prompt and its responses among them
    out: one row per pair, the columns of WORD_ABOUT
    """
    pairs = len(chosen_at)
    a, b = tokens.vocabulary_of(chosen_at), tokens.vocabulary_of(rejected_at)
    found = a == np.append(b, 0)[np.searchsorted(b, a)]
    shared = np.bincount(row_of(a[found]), minlength=pairs)
    either = np.bincount(row_of(a), minlength=pairs) + np.bincount(row_of(b), minlength=pairs) - shared
    jaccard = np.divide(shared, either, out=np.full(pairs, np.nan), where=either > 0)
    # Comparing forms is slow, and only responses with the same words in the same order can be equal.
    signature = _signature(tokens)
    same = pl.Series(signature[chosen_at] == signature[rejected_at])
    to_compare = same.arg_true()
    if len(to_compare):
        sides = {"prompt": prompt_at, "chosen": chosen_at, "rejected": rejected_at}
        compared = pl.DataFrame({side: texts.gather(places[to_compare.to_numpy()]) for side, places in sides.items()})
        same = same.scatter(to_compare, compared.select(same=differ_in_form_only(*sides)).to_series())
    return pl.DataFrame(
        {
            "word_jaccard": pl.Series(jaccard, dtype=pl.Float32, nan_to_null=True),
            "identical_normalized": same,
        }
    )


def _signature(tokens: Tokens) -> np.ndarray:
    """Return one hash per row that depends on its words and their order."""
    ends = np.cumsum(tokens.counts)
    from_end = np.repeat(ends, tokens.counts) - np.arange(len(tokens.hashes))
    placed = (tokens.hashes ^ (from_end.astype(np.uint64) * GOLDEN)) * GOLDEN
    sums = np.append(np.uint64(0), np.cumsum(placed, dtype=np.uint64))
    signature: np.ndarray = sums[ends] - sums[ends - tokens.counts]
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
