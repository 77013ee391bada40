"""Lengths in tokens of each pair, as TRL's DPOTrainer tokenizes it (`curate.text.sequences`)."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from curate.schema import widened
from curate.text.sequences import SIDES, SegmentTokenizer, common_prefix, rendered_pairs

# One row per pair; lengths in tokens, null if the chat template refuses the row.
TOKENS = pl.Schema(
    {
        "prompt_tokens": pl.UInt32(),  # TRL's prompt_ids: the common prefix of the prompt and prompt + answer
        "lost_tokens": pl.UInt32(),  # tokens of the rendered prompt after that prefix: not used in training
        "chosen_tokens": pl.UInt32(),  # TRL's chosen_ids
        "rejected_tokens": pl.UInt32(),
        "shared_tokens": pl.UInt32(),  # common prefix of prompt + chosen and prompt + rejected, the prompt included
        "chosen_ends": pl.Boolean(),  # with an end token
        "rejected_ends": pl.Boolean(),
        "system_lost": pl.Boolean(),  # the rendered prompt does not contain the system message
        "content_lost": pl.Boolean(),  # a rendered answer does not contain all that its messages say
        "refused": pl.String(),  # the chat template's error message; null = no error
    }
)
ROWS_PER_BLOCK = 2_000  # rows whose texts and tokens are in memory at the same time
TAIL = 4  # last tokens of an answer that are searched for an end token: templates add a line break or so after it

Messages = list[dict[str, str]]


def tokens(pairs: pl.DataFrame, tokenizer: Any, ends: frozenset[int]) -> pl.DataFrame:
    """
    Tokenize pairs as TRL does and measure them.

    in : PAIR (only prompt, chosen, rejected and tools are used), a tokenizer with a template, ids of the end tokens
    out: TOKENS, one row per pair, in order
    """
    segments = SegmentTokenizer(tokenizer)
    blocks = [_measured_block(block, tokenizer, segments, ends) for block in pairs.iter_slices(ROWS_PER_BLOCK)]
    return pl.concat([pl.DataFrame(schema=TOKENS), *blocks])


def _measured_block(
    pairs: pl.DataFrame, tokenizer: Any, segments: SegmentTokenizer, ends: frozenset[int]
) -> pl.DataFrame:
    rows = widened(pairs).select("prompt", "chosen", "rejected", "tools").to_dicts()
    texts = rendered_pairs(tokenizer, rows)
    segments.load(text for row in texts if not isinstance(row, str) for text in row)
    measured = [
        {"refused": text} if isinstance(text, str) else _measured(row, text, segments, ends)
        for row, text in zip(rows, texts, strict=True)
    ]
    return pl.DataFrame(measured, schema=TOKENS)


def _measured(
    row: Mapping[str, Messages], texts: tuple[str, ...], segments: SegmentTokenizer, ends: frozenset[int]
) -> dict[str, Any]:
    alone, chosen, rejected = (segments.ids(text) for text in texts)
    cut = min(common_prefix(alone, chosen), common_prefix(alone, rejected))
    systems = [message["content"].strip() for message in row["prompt"] if message["role"] in ("system", "developer")]
    answers = {side: text.removeprefix(texts[0]) for side, text in zip(SIDES, texts[1:], strict=True)}
    return {
        "prompt_tokens": cut,
        "lost_tokens": len(alone) - cut,
        "chosen_tokens": len(chosen) - cut,
        "rejected_tokens": len(rejected) - cut,
        "shared_tokens": common_prefix(chosen, rejected),
        "chosen_ends": not ends.isdisjoint(chosen[cut:][-TAIL:].tolist()),
        "rejected_ends": not ends.isdisjoint(rejected[cut:][-TAIL:].tolist()),
        "system_lost": any(system not in texts[0] for system in systems),
        "content_lost": any(_solid(m["content"]) not in _solid(answers[side]) for side in SIDES for m in row[side]),
    }


def _solid(text: str) -> str:
    """Return a text without white space, which templates may trim or add."""
    return "".join(text.split())
