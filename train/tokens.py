"""
Token sequences of each pair, identical to those of TRL's DPOTrainer but computed in batches.

TRL 1.16 (`trl/trainer/dpo_trainer.py`, `_prepare_dataset`) renders and tokenizes three conversations per row: the
prompt with the generation prompt, prompt + chosen, and prompt + rejected. The answer starts at the first token where
the prompt differs from the other two. Here conversations are rendered the same way, but each distinct segment of text
between special tokens is tokenized only once, in batches.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jinja2 import TemplateError

from curate.schema import widened
from curate.text.chat import render_chat, render_chats

SIDES = ("chosen", "rejected")
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
# With tokenizers made only of these parts, text between two special tokens is tokenized independently of its context,
# so its tokens can be cached.
SEPARABLE = {"ByteLevel", "Split", "Digits", "Sequence", "NFC", "NFD", "NFKC", "NFKD"}

Ids = np.ndarray  # int32, one value per token
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


def sequences(pair: Mapping[str, Any], tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Return prompt_ids, chosen_ids and rejected_ids of one pair, as in TRL. Errors of the template are raised."""
    segments = SegmentTokenizer(tokenizer)
    whole = [segments.ids(text) for text in _rendered(tokenizer, pair)]
    cut = min(_common_prefix(whole[0], whole[1]), _common_prefix(whole[0], whole[2]))
    return whole[0][:cut].tolist(), whole[1][cut:].tolist(), whole[2][cut:].tolist()


class SegmentTokenizer:
    """A tokenizer that caches the tokens of each distinct text segment between two special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder if _is_separable(tokenizer) else {}
        self._special = {token.content: np.array([number], np.int32) for number, token in added.items()}
        # Longest first: if two special tokens start at the same place, the tokenizer takes the longer one.
        names = sorted(self._special, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        self._cache: dict[str, Ids] = {}

    def load(self, texts: Iterable[str]) -> None:
        """Tokenize the new segments of these texts in one batch; remove segments that do not occur in them."""
        wanted = dict.fromkeys(part for text in texts for part in self._segments(text) if part not in self._special)
        new = [part for part in wanted if part not in self._cache]
        found = self._tokenizer(new, add_special_tokens=False, return_attention_mask=False)["input_ids"] if new else []
        ids = dict(zip(new, (np.array(row, np.int32) for row in found), strict=True))
        self._cache = {part: ids[part] if part in ids else self._cache[part] for part in wanted}

    def ids(self, text: str) -> Ids:
        """Return the tokens of a text, int32."""
        parts = self._segments(text)
        if missing := [part for part in parts if part not in self._special and part not in self._cache]:
            self.load([*self._cache, *missing])
        found = [self._special[part] if part in self._special else self._cache[part] for part in parts]
        return np.concatenate([np.empty(0, np.int32), *found])

    def _segments(self, text: str) -> list[str]:
        return [part for part in self._split.split(text) if part] if self._split else [text]


def _is_separable(tokenizer: Any) -> bool:
    """Return whether text between two special tokens is always tokenized the same way, whatever surrounds it."""
    if not getattr(tokenizer, "is_fast", False):
        return False
    if any(t.lstrip or t.rstrip or t.single_word or t.normalized for t in tokenizer.added_tokens_decoder.values()):
        return False
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return _part_types(backend["pre_tokenizer"]) | _part_types(backend["normalizer"]) <= SEPARABLE


def _part_types(part: Mapping[str, Any] | None) -> set[str]:
    if part is None:
        return set()
    inner = [*part.get("pretokenizers", ()), *part.get("normalizers", ())]
    return {part["type"]}.union(*(_part_types(each) for each in inner))


def _measured_block(
    pairs: pl.DataFrame, tokenizer: Any, segments: SegmentTokenizer, ends: frozenset[int]
) -> pl.DataFrame:
    rows = widened(pairs).select("prompt", "chosen", "rejected", "tools").to_dicts()
    texts = _all_rendered(tokenizer, rows)
    segments.load(text for row in texts if not isinstance(row, str) for text in row)
    measured = [
        {"refused": text} if isinstance(text, str) else _measured(row, text, segments, ends)
        for row, text in zip(rows, texts, strict=True)
    ]
    return pl.DataFrame(measured, schema=TOKENS)


def _rendered(tokenizer: Any, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of the prompt, prompt + chosen and prompt + rejected, with the tools that are offered."""
    tools = {"tools": json.loads(row["tools"])} if row.get("tools") else {}
    prompt = render_chat(tokenizer, row["prompt"], add_generation_prompt=True, **tools)
    return prompt, *render_chats(tokenizer, [row["prompt"] + row[side] for side in SIDES], **tools)


def _all_rendered(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...] | str]:
    """Return `_rendered` of every row, or the template's error message; in one batch if no row is refused."""
    if any(row["tools"] for row in rows):  # a batch has the same tools in all conversations
        return [_rendered_or_error(tokenizer, row) for row in rows]
    try:
        prompts = render_chats(tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True)
        chosen = render_chats(tokenizer, [row["prompt"] + row["chosen"] for row in rows])
        rejected = render_chats(tokenizer, [row["prompt"] + row["rejected"] for row in rows])
        return list(zip(prompts, chosen, rejected, strict=True))
    except (TemplateError, TypeError, ValueError):
        return [_rendered_or_error(tokenizer, row) for row in rows]


def _rendered_or_error(tokenizer: Any, row: Mapping[str, Any]) -> tuple[str, ...] | str:
    try:
        return _rendered(tokenizer, row)
    except (TemplateError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__


def _measured(
    row: Mapping[str, Messages], texts: tuple[str, ...], segments: SegmentTokenizer, ends: frozenset[int]
) -> dict[str, Any]:
    alone, chosen, rejected = (segments.ids(text) for text in texts)
    cut = min(_common_prefix(alone, chosen), _common_prefix(alone, rejected))
    systems = [message["content"].strip() for message in row["prompt"] if message["role"] in ("system", "developer")]
    answers = {side: text.removeprefix(texts[0]) for side, text in zip(SIDES, texts[1:], strict=True)}
    return {
        "prompt_tokens": cut,
        "lost_tokens": len(alone) - cut,
        "chosen_tokens": len(chosen) - cut,
        "rejected_tokens": len(rejected) - cut,
        "shared_tokens": _common_prefix(chosen, rejected),
        "chosen_ends": not ends.isdisjoint(chosen[cut:][-TAIL:].tolist()),
        "rejected_ends": not ends.isdisjoint(rejected[cut:][-TAIL:].tolist()),
        "system_lost": any(system not in texts[0] for system in systems),
        "content_lost": any(_solid(m["content"]) not in _solid(answers[side]) for side in SIDES for m in row[side]),
    }


def _solid(text: str) -> str:
    """Return a text without white space, which templates may trim or add."""
    return "".join(text.split())


def _common_prefix(one: Ids, two: Ids) -> int:
    """Return the length of the common prefix of two token sequences."""
    length = min(len(one), len(two))
    differs = one[:length] != two[:length]
    return int(differs.argmax()) if differs.any() else length
