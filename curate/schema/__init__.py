"""The one table: PAIR, and what comes before it (PROMPTS, CANDIDATES) and after it (LEDGER). Ids are made here."""

from collections.abc import Iterable, Mapping

import polars as pl

from curate.errors import InputError

__all__ = [
    "CANDIDATES",
    "DUPLICATE_PROMPT",
    "LEDGER",
    "MESSAGE",
    "MESSAGES",
    "PAIR",
    "PROMPTS",
    "ROLES",
    "SEED",
    "STAGED",
    "canonical",
    "check",
    "digest",
    "empty",
    "prompt_ids",
    "with_ids",
]

MESSAGE = pl.Struct({"role": pl.String, "content": pl.String})
MESSAGES = pl.List(MESSAGE)
# Problems of prompts that can be read: one that stands further up already, and one that only served to make others.
DUPLICATE_PROMPT, SEED = "duplicate_prompt", "seed"
ROLES = ("system", "developer", "user", "assistant", "tool")

# One row a pair; prompt/chosen/rejected are TRL's "conversational preference, explicit prompt".
PAIR = pl.Schema(
    {
        "pair_id": pl.String(),  # hash of prompt + the two responses; orientation counts
        "prompt_id": pl.String(),  # hash of the prompt's messages
        "source": pl.String(),  # which input
        "source_row": pl.UInt64(),  # 0-based row in it
        "prompt": MESSAGES,  # system and user/assistant turns up to the last user turn
        "chosen": MESSAGES,  # what follows the prompt, normally one assistant turn
        "rejected": MESSAGES,
        "chosen_score": pl.Float64(),  # on the source's scale; null = not measured
        "rejected_score": pl.Float64(),
        "strength": pl.Float64(),  # how sure or strong the preference is, 0..1; null = not said
        "chosen_model": pl.String(),  # who wrote it; null = not said
        "rejected_model": pl.String(),
        "extra": pl.String(),  # the source's other columns as a JSON object; null = there are none
    }
)

# PAIR, the id of the pair turned round, and why a row is no pair (its ids are null then; what was read of it stays).
STAGED = pl.Schema({**PAIR, "flipped_id": pl.String(), "problem": pl.String(), "detail": pl.String()})

# One row a prompt, before anything was generated for it.
PROMPTS = pl.Schema(
    {
        "prompt_id": pl.String(),
        "prompt": MESSAGES,
        "source": pl.String(),
        "source_row": pl.UInt64(),
        "extra": pl.String(),
    }
)

# One row an answer; pairing turns CANDIDATES into PAIR. The answers to choose among share (source, source_row).
CANDIDATES = pl.Schema(
    {
        "prompt_id": pl.String(),
        "prompt": MESSAGES,
        "candidate_id": pl.String(),  # hash of the prompt, the model, its parameters and the sample's number
        "response": MESSAGES,  # null = there is none, and `error` says why
        "model": pl.String(),
        "params": pl.String(),  # sampling parameters, seed and system prompt as a JSON object
        "on_policy": pl.Boolean(),  # written by the model that is to be trained; null = not said
        "finish_reason": pl.String(),  # stop, length (cut off at max_tokens), …; null = not said
        "input_tokens": pl.UInt32(),
        "output_tokens": pl.UInt32(),
        "error": pl.String(),
        "score": pl.Float64(),  # overall; null = not judged
        "scores": pl.List(pl.Struct({"aspect": pl.String, "score": pl.Float64})),
        "reason": pl.String(),  # the judge's
        "judge": pl.String(),
        "source": pl.String(),
        "source_row": pl.UInt64(),
    }
)

# One row for every input row (or for every pair it yields): where it went and why.
LEDGER = pl.Schema(
    {
        "source": pl.String(),
        "source_row": pl.UInt64(),
        "pair_id": pl.String(),  # null when the row never became a pair
        "kept": pl.Boolean(),
        "split": pl.String(),  # null when dropped
        "stage": pl.String(),  # null when kept; else read, prompts, generate, judge, pair, rules or dedup
        "rule": pl.String(),  # the first reason's name
        "value": pl.Float64(),  # the measured value that broke the rule
        "matched": pl.String(),  # pair_id of the row it duplicates or contradicts
        "reasons": pl.List(pl.String),  # every reason, in rule order; empty when kept
    }
)


def check(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], what: str = "frame") -> pl.DataFrame:
    """Return the frame with exactly the schema's columns, in its order. Raises InputError naming what differs."""
    wrong = [
        f"{name} is {frame.schema.get(name, 'missing')}, expected {dtype}"
        for name, dtype in schema.items()
        if frame.schema.get(name) != dtype
    ]
    if wrong:
        raise InputError(f"{what} does not have the expected columns: {'; '.join(wrong)}")
    return frame.select(list(schema))


def digest(text: pl.Expr) -> pl.Expr:
    """Lower-case hex of the first 128 bits of SHA-256: str -> str of 32 characters; null stays null.

    SHA-256 because its value is fixed for all time and anyone can recompute it with the standard library.
    """
    # The plugin is imported here: it costs as much start-up time as the rest of curate together.
    import polars_hash as plh

    hashed: pl.Expr = plh.concat_str(text).chash.sha2_256()
    return hashed.str.head(32)


def canonical(messages: str) -> pl.Expr:
    """A list of messages as one text that no other list can have: every part is led by its length in bytes."""
    role, content = (pl.element().struct.field(f) for f in ("role", "content"))
    parts = [text for part in (role, content) for text in (part.str.len_bytes().cast(pl.String), pl.lit(":"), part)]
    return pl.col(messages).list.eval(pl.concat_str(parts)).list.join("")


def prompt_ids() -> pl.Expr:
    """The ids of the column `prompt`, the same that `with_ids` gives its pairs; null stays null."""
    return digest(canonical("prompt")).alias("prompt_id")


def with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Add prompt_id, pair_id and `flipped_id` (the pair_id of the same pair with chosen and rejected swapped).

    A function of the texts and roles alone: the same on every machine and version, whatever the row's place.
    """
    sides = frame.select(digest(canonical(side)).alias(side) for side in ("prompt", "chosen", "rejected"))
    ids = sides.select(
        prompt_id="prompt",
        pair_id=digest(pl.concat_str("prompt", "chosen", "rejected")),
        flipped_id=digest(pl.concat_str("prompt", "rejected", "chosen")),
    )
    return frame.with_columns(ids.get_columns())


def empty(schema: Mapping[str, pl.DataType], columns: Iterable[str] | None = None) -> list[pl.Expr]:
    """Null columns of the schema's types, for `with_columns` where a source has nothing to say."""
    return [pl.lit(None, dtype=schema[name]).alias(name) for name in (schema if columns is None else columns)]


def __dir__() -> list[str]:
    return sorted(__all__)
