"""Schemas: PAIR, the tables before it (PROMPTS, CANDIDATES) and after it (LEDGER). Ids are computed here."""

from collections.abc import Iterable, Mapping

import polars as pl

from curate.errors import InputError
from curate.schema.message import ROLES

__all__ = [
    "CANDIDATES",
    "COMPLETE",
    "DUPLICATE_PROMPT",
    "LEDGER",
    "MESSAGE",
    "MESSAGES",
    "OPTIONAL",
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
    "widened",
    "with_ids",
]

# What a message may have besides its role and text; null = it has none. `tool_calls` is a JSON array of calls in
# OpenAI's form, with arguments as an object:
# [{"id": …, "type": "function", "function": {"name": …, "arguments": {…}}}]
OPTIONAL = ("reasoning", "tool_calls", "name", "tool_call_id")
MESSAGE = pl.Struct({"role": pl.String, "content": pl.String, **dict.fromkeys(OPTIONAL, pl.String)})
MESSAGES = pl.List(MESSAGE)
TAGS = {"reasoning": "r", "tool_calls": "c", "name": "n", "tool_call_id": "i"}  # in ids
# Problems of readable prompts: it occurs earlier, or it was only used to generate others.
DUPLICATE_PROMPT, SEED = "duplicate_prompt", "seed"

# One row per pair; prompt/chosen/rejected are TRL's "conversational preference, explicit prompt".
PAIR = pl.Schema(
    {
        "pair_id": pl.String(),  # hash of prompt + the two responses; orientation matters
        "prompt_id": pl.String(),  # hash of the prompt's messages
        "source": pl.String(),  # name of the input
        "source_row": pl.UInt64(),  # 0-based row in it
        "prompt": MESSAGES,  # system, user, assistant and tool turns up to the last user turn or tool result
        "chosen": MESSAGES,  # the turns after the prompt, normally one assistant turn
        "rejected": MESSAGES,
        "chosen_score": pl.Float64(),  # on the source's scale; null = not measured
        "rejected_score": pl.Float64(),
        "strength": pl.Float64(),  # confidence or strength of the preference, 0..1; null = unknown
        "chosen_model": pl.String(),  # the model that wrote it; null = unknown
        "rejected_model": pl.String(),
        "tools": pl.String(),  # the tools offered, as a JSON array in OpenAI's form; null = none
        "extra": pl.String(),  # the source's other columns as a JSON object; null = none
    }
)

# PAIR, the id of the swapped pair, and why a row is not a pair (its ids are null then; the rest is kept as read).
STAGED = pl.Schema({**PAIR, "flipped_id": pl.String(), "problem": pl.String(), "detail": pl.String()})

# One row per prompt, before anything is generated for it.
PROMPTS = pl.Schema(
    {
        "prompt_id": pl.String(),
        "prompt": MESSAGES,
        "source": pl.String(),
        "source_row": pl.UInt64(),
        "extra": pl.String(),
    }
)

# One row per answer; pairing turns CANDIDATES into PAIR. The answers of one set share (source, source_row).
CANDIDATES = pl.Schema(
    {
        "prompt_id": pl.String(),
        "prompt": MESSAGES,
        "candidate_id": pl.String(),  # hash of the prompt, the model, its parameters and the sample's number
        "response": MESSAGES,  # null = none, see `error`
        "model": pl.String(),
        "params": pl.String(),  # sampling parameters, seed and system prompt as a JSON object
        "on_policy": pl.Boolean(),  # written by the model to be trained; null = unknown
        "finish_reason": pl.String(),  # stop, length (truncated at max_tokens), …; null = unknown
        "input_tokens": pl.UInt32(),
        "output_tokens": pl.UInt32(),
        "error": pl.String(),
        # What the model thought first, where its endpoint tells it apart; null = unknown. The response has none then.
        "reasoning": pl.String(),
        "logp_per_token": pl.Float64(),  # log-likelihood under the model to be trained, nats; null = not measured
        "score": pl.Float64(),  # overall score; null = not judged
        "scores": pl.List(pl.Struct({"aspect": pl.String, "score": pl.Float64})),
        "reason": pl.String(),  # the judge's reason
        "judge": pl.String(),
        "source": pl.String(),
        "source_row": pl.UInt64(),
    }
)

# Finish reasons of a complete answer, in lower case (OpenAI, Anthropic, TGI, Cohere, Google, llama.cpp). After any
# other one (length, content_filter, tool_calls, error, …) something is missing; null = not reported.
COMPLETE = ("stop", "stop_sequence", "end_turn", "eos", "eos_token", "complete", "completed", "finished", "done")

# One row per input row (or per pair it yields): whether it was kept, and why not.
LEDGER = pl.Schema(
    {
        "source": pl.String(),
        "source_row": pl.UInt64(),
        "pair_id": pl.String(),  # null if the row never became a pair
        "kept": pl.Boolean(),
        "split": pl.String(),  # null when dropped
        "stage": pl.String(),  # null when kept; else a stage from read to select, see `report.summary.STAGES`
        "rule": pl.String(),  # name of the first reason
        "value": pl.Float64(),  # the measured value that violated the rule
        "matched": pl.String(),  # pair_id of the row it duplicates or contradicts
        "reasons": pl.List(pl.String),  # every reason, in rule order; empty when kept
    }
)


def check(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], what: str = "frame") -> pl.DataFrame:
    """
    Return the frame with exactly the schema's columns, in its order. Raise InputError naming the differences.

    Messages of only some of the optional fields, for example of role and content, get the others as null.
    """
    frame = widened(frame, schema)
    wrong = [
        f"{name} is {frame.schema.get(name, 'missing')}, expected {dtype}"
        for name, dtype in schema.items()
        if frame.schema.get(name) != dtype
    ]
    if wrong:
        raise InputError(f"{what} does not have the expected columns: {'; '.join(wrong)}")
    return frame.select(list(schema))


def widened(frame: pl.DataFrame, schema: Mapping[str, pl.DataType] = PAIR) -> pl.DataFrame:
    """
    Return the frame with every optional field in the schema's messages, and with `tools` where the schema has it; null
    where they are absent. Other columns stay as they are, and so do messages that have any other field.

        widened(pl.DataFrame({"prompt": [[{"role": "user", "content": "Tea?"}]]}))["prompt"][0][0]["name"]  # None
    """
    narrow = [
        name for name, dtype in schema.items() if dtype == MESSAGES and _is_narrow(frame.schema.get(name, pl.Null()))
    ]
    missing = [name for name in ("tools",) if name in schema and name not in frame.columns]
    if not narrow and not missing:
        return frame
    return frame.with_columns(pl.col(narrow).cast(MESSAGES), *empty(schema, missing))


def _is_narrow(dtype: pl.DataType) -> bool:
    """Return whether a type is that of messages without some of the optional fields, or with them as null."""
    if not isinstance(dtype, pl.List) or not isinstance(dtype.inner, pl.Struct):
        return False
    fields = dtype.inner.to_schema()
    texts = all(kind in (pl.String, pl.Null) for kind in fields.values())
    return dtype != MESSAGES and texts and {"role", "content"} <= set(fields) <= {"role", "content", *OPTIONAL}


def digest(text: pl.Expr) -> pl.Expr:
    """Return the first 128 bits of SHA-256 in lower-case hex: str -> str of 32 characters; null stays null.

    SHA-256 because it never changes and anyone can recompute it with the standard library.
    """
    # The plugin is imported here because it takes as much start-up time as the rest of curate together.
    import polars_hash as plh

    hashed: pl.Expr = plh.concat_str(text).chash.sha2_256()
    return hashed.str.head(32)


def canonical(messages: str, optional: Iterable[str] = OPTIONAL) -> pl.Expr:
    """
    Return messages as one unambiguous text: every part is prefixed with its length in bytes.

    An optional field is added where a message has it, after a letter that tells which; all other messages, and their
    ids, are as if there were no such fields. `optional` are those that any message may have.
    """
    field = pl.element().struct.field
    parts = [text for name in ("role", "content") for text in _prefixed(field(name))]
    more = [pl.concat_str(pl.lit(TAGS[name]), *_prefixed(field(name))).fill_null("") for name in optional]
    return pl.col(messages).list.eval(pl.concat_str(*parts, *more)).list.join("")


def _prefixed(text: pl.Expr) -> tuple[pl.Expr, ...]:
    return text.str.len_bytes().cast(pl.String), pl.lit(":"), text


def _present(messages: pl.Series) -> list[str]:
    """Return the optional fields that any of these messages has: most blocks have none, and hash faster for it."""
    each = messages.explode(empty_as_null=True, keep_nulls=True)
    return [name for name in OPTIONAL if each.struct.field(name).null_count() < len(each)]


def prompt_ids() -> pl.Expr:
    """Return the ids of the column `prompt`, equal to those of `with_ids`; null stays null."""
    return digest(canonical("prompt")).alias("prompt_id")


def with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Add prompt_id, pair_id and `flipped_id` (the pair_id of the same pair with chosen and rejected swapped).

    The ids depend on nothing but roles, texts, the optional fields of messages, and the tools offered: they are equal
    on every machine and version, whatever the row's position.
    """
    offered = pl.concat_str(pl.lit("t"), *_prefixed(pl.col("tools"))).fill_null("") if "tools" in frame.columns else ""
    sides = ("prompt", "chosen", "rejected")
    whole = widened(frame, dict.fromkeys(sides, MESSAGES))
    texts = {side: canonical(side, _present(whole.get_column(side))) for side in sides}
    texts["prompt"] += offered
    hashes = whole.select(digest(text).alias(side) for side, text in texts.items())
    ids = hashes.select(
        prompt_id="prompt",
        pair_id=digest(pl.concat_str("prompt", "chosen", "rejected")),
        flipped_id=digest(pl.concat_str("prompt", "rejected", "chosen")),
    )
    return frame.with_columns(ids.get_columns())


def empty(schema: Mapping[str, pl.DataType], columns: Iterable[str] | None = None) -> list[pl.Expr]:
    """Return null columns of the schema's types, for `with_columns` where a source has no values."""
    return [pl.lit(None, dtype=schema[name]).alias(name) for name in (schema if columns is None else columns)]


def __dir__() -> list[str]:
    return sorted(__all__)
