"""
Token sequences of conversations under the chat template of a tokenizer, identical to those of TRL but in batches.

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
# With tokenizers made only of these parts, text between two special tokens is tokenized independently of its context,
# so its tokens can be cached.
SEPARABLE = {"ByteLevel", "Split", "Digits", "Sequence", "NFC", "NFD", "NFKC", "NFKD"}

Ids = np.ndarray  # int32, one value per token
Answers = tuple[Ids, Ids, Ids]  # of a pair: prompt_ids, chosen_ids and rejected_ids, as in TRL


def sequences(pair: Mapping[str, Any], tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Return prompt_ids, chosen_ids and rejected_ids of one pair, as in TRL. Errors of the template are raised."""
    prompt, chosen, rejected = _sequences(SegmentTokenizer(tokenizer), rendered_pair(tokenizer, pair))
    return prompt.tolist(), chosen.tolist(), rejected.tolist()


def all_sequences(pairs: pl.DataFrame, tokenizer: Any, segments: "SegmentTokenizer") -> list[Answers | str]:
    """
    Return the sequences of every pair, or the error message of the chat template.

    in : PAIR (only prompt, chosen, rejected and tools are used); `segments` of the same tokenizer, which cache tokens
    """
    rows = widened(pairs).select("prompt", *SIDES, "tools").to_dicts()
    texts = rendered_pairs(tokenizer, rows)
    segments.load(text for row in texts if not isinstance(row, str) for text in row)
    return [row if isinstance(row, str) else _sequences(segments, row) for row in texts]


def _sequences(segments: "SegmentTokenizer", texts: Sequence[str]) -> Answers:
    alone, chosen, rejected = (segments.ids(text) for text in texts)
    cut = min(common_prefix(alone, chosen), common_prefix(alone, rejected))
    return alone[:cut], chosen[cut:], rejected[cut:]


def conversation_ids(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], limit: int, tools: str | None = None
) -> list[int] | None:
    """
    Return the tokens of a conversation, of which the oldest exchanges are dropped as a whole until it has at most
    `limit` tokens; its system prompt stays. None if the last exchange alone is too long: cut, it would be another one.

    A tokenizer without a chat template gets lines of `role: content`. Errors of the template are raised.
    """
    options = {"tools": json.loads(tools)} if tools else {}

    def ids_of(turns: Sequence[Mapping[str, Any]]) -> list[int]:
        templated = bool(tokenizer.chat_template)  # which includes special tokens
        text = (
            render_chat(tokenizer, turns, add_generation_prompt=False, **options)
            if templated
            else "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        )
        ids: list[int] = tokenizer(text, add_special_tokens=not templated)["input_ids"]
        return ids

    system = [message for message in messages[:1] if message["role"] in {"system", "developer"}]
    turns = list(messages[len(system) :])
    while len(ids := ids_of([*system, *turns])) > limit:
        if len(turns) < 4:
            return None
        turns = turns[2:]
    return ids


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


def rendered_pair(tokenizer: Any, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of the prompt, prompt + chosen and prompt + rejected, with the tools that are offered."""
    tools = {"tools": json.loads(row["tools"])} if row.get("tools") else {}
    prompt = render_chat(tokenizer, row["prompt"], add_generation_prompt=True, **tools)
    return prompt, *render_chats(tokenizer, [row["prompt"] + row[side] for side in SIDES], **tools)


def rendered_pairs(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...] | str]:
    """Return `rendered_pair` of every row, or the template's error message; in one batch if no row is refused."""
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
        return rendered_pair(tokenizer, row)
    except (TemplateError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__


def common_prefix(one: Ids, two: Ids) -> int:
    """Return the length of the common prefix of two token sequences."""
    length = min(len(one), len(two))
    differs = one[:length] != two[:length]
    return int(differs.argmax()) if differs.any() else length
