"""
What TRL's DPOTrainer makes of each row, token for token, without asking it row by row.

TRL 1.16 (`trl/trainer/dpo_trainer.py`, `_prepare_dataset`) renders and tokenizes three conversations a row: the prompt
with the generation prompt, prompt + chosen, prompt + rejected. The answer begins where the first differs from the
others. Here conversations are rendered the same way; of the texts each distinct piece is tokenized once, in batches.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jinja2 import TemplateError

# One row a pair; lengths in tokens, null where the chat template refuses the row.
TOKENS = pl.Schema(
    {
        "prompt_tokens": pl.UInt32(),  # TRL's prompt_ids: what the prompt shares with prompt + answer
        "lost_tokens": pl.UInt32(),  # of the prompt alone, beyond that: the model is not trained on them
        "chosen_tokens": pl.UInt32(),  # TRL's chosen_ids
        "rejected_tokens": pl.UInt32(),
        "shared_tokens": pl.UInt32(),  # beginning that both whole sequences share, the prompt included
        "chosen_ends": pl.Boolean(),  # with a token that ends an answer
        "rejected_ends": pl.Boolean(),
        "system_lost": pl.Boolean(),  # the rendered prompt does not hold the system message
        "refused": pl.String(),  # why the chat template takes no such conversation; null = it does
    }
)
BLOCK = 2_000  # rows whose texts and tokens lie in memory together
# Whether an answer ends is read from its last tokens: templates write a line break, or little more, after the end.
TAIL = 4
# Tokenizers made of these parts treat the text between two special tokens by itself, so it can be looked up.
SEPARABLE = {"ByteLevel", "Split", "Digits", "Sequence", "NFC", "NFD", "NFKC", "NFKD"}

Ids = np.ndarray  # int32, one token each
Messages = list[dict[str, str]]


def tokens(pairs: pl.DataFrame, tokenizer: Any, ends: frozenset[int]) -> pl.DataFrame:
    """
    in : PAIR (prompt, chosen and rejected are looked at), a tokenizer with a chat template, tokens that end an answer
    out: TOKENS, row for row
    """
    pieces = Pieces(tokenizer)
    blocks = [_block(block, tokenizer, pieces, ends) for block in pairs.iter_slices(BLOCK)]
    return pl.concat([pl.DataFrame(schema=TOKENS), *blocks])


def sequences(pair: Mapping[str, Messages], tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """prompt_ids, chosen_ids and rejected_ids of one pair, as TRL trains on them. Raises what the template raises."""
    pieces = Pieces(tokenizer)
    whole = [pieces.ids(text) for text in _rendered(tokenizer, pair)]
    cut = min(_shared(whole[0], whole[1]), _shared(whole[0], whole[2]))
    return whole[0][:cut].tolist(), whole[1][cut:].tolist(), whole[2][cut:].tolist()


class Pieces:
    """Tokens of texts, each distinct piece between two special tokens tokenized once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder if _is_separable(tokenizer) else {}
        self._special = {token.content: np.array([number], np.int32) for number, token in added.items()}
        # Longest first: where two begin at the same place the tokenizer takes the longer one.
        names = sorted(self._special, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        self._known: dict[str, Ids] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Tokenize what is new in these texts, in one batch; what was known before is forgotten where not in them."""
        wanted = dict.fromkeys(piece for text in texts for piece in self._pieces(text) if piece not in self._special)
        new = [piece for piece in wanted if piece not in self._known]
        found = self._tokenizer(new, add_special_tokens=False, return_attention_mask=False)["input_ids"] if new else []
        ids = dict(zip(new, (np.array(row, np.int32) for row in found), strict=True))
        self._known = {piece: ids[piece] if piece in ids else self._known[piece] for piece in wanted}

    def ids(self, text: str) -> Ids:
        """The tokens of a text, int32."""
        parts = self._pieces(text)
        if missing := [part for part in parts if part not in self._special and part not in self._known]:
            self.learn([*self._known, *missing])
        found = [self._special[part] if part in self._special else self._known[part] for part in parts]
        return np.concatenate([np.empty(0, np.int32), *found])

    def _pieces(self, text: str) -> list[str]:
        return [part for part in self._split.split(text) if part] if self._split else [text]


def _is_separable(tokenizer: Any) -> bool:
    """Whether the text between two special tokens becomes the same tokens wherever it stands."""
    if not getattr(tokenizer, "is_fast", False):
        return False
    if any(t.lstrip or t.rstrip or t.single_word or t.normalized for t in tokenizer.added_tokens_decoder.values()):
        return False
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return _kinds(backend["pre_tokenizer"]) | _kinds(backend["normalizer"]) <= SEPARABLE


def _kinds(part: Mapping[str, Any] | None) -> set[str]:
    if part is None:
        return set()
    inner = [*part.get("pretokenizers", ()), *part.get("normalizers", ())]
    return {part["type"]}.union(*(_kinds(each) for each in inner))


def _block(pairs: pl.DataFrame, tokenizer: Any, pieces: Pieces, ends: frozenset[int]) -> pl.DataFrame:
    rows = pairs.select("prompt", "chosen", "rejected").to_dicts()
    texts = _all_rendered(tokenizer, rows)
    pieces.learn(text for row in texts if not isinstance(row, str) for text in row)
    measured = [
        {"refused": text} if isinstance(text, str) else _measured(row["prompt"], text, pieces, ends)
        for row, text in zip(rows, texts, strict=True)
    ]
    return pl.DataFrame(measured, schema=TOKENS)


def _rendered(tokenizer: Any, row: Mapping[str, Messages]) -> tuple[str, ...]:
    """Texts of the prompt, prompt + chosen and prompt + rejected."""
    prompt: str = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    whole = [tokenizer.apply_chat_template(row["prompt"] + row[s], tokenize=False) for s in ("chosen", "rejected")]
    return prompt, *whole


def _all_rendered(tokenizer: Any, rows: Sequence[Mapping[str, Messages]]) -> list[tuple[str, ...] | str]:
    """`_rendered` of every row, or why the template refuses it; in one go where it refuses none."""
    try:
        render = tokenizer.apply_chat_template
        prompts = render([row["prompt"] for row in rows], tokenize=False, add_generation_prompt=True)
        chosen = render([row["prompt"] + row["chosen"] for row in rows], tokenize=False)
        rejected = render([row["prompt"] + row["rejected"] for row in rows], tokenize=False)
        return list(zip(prompts, chosen, rejected, strict=True))
    except (TemplateError, TypeError, ValueError):
        return [_or_refused(tokenizer, row) for row in rows]


def _or_refused(tokenizer: Any, row: Mapping[str, Messages]) -> tuple[str, ...] | str:
    try:
        return _rendered(tokenizer, row)
    except (TemplateError, TypeError, ValueError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__


def _measured(prompt: Messages, texts: tuple[str, ...], pieces: Pieces, ends: frozenset[int]) -> dict[str, Any]:
    alone, chosen, rejected = (pieces.ids(text) for text in texts)
    cut = min(_shared(alone, chosen), _shared(alone, rejected))
    systems = [message["content"].strip() for message in prompt if message["role"] in ("system", "developer")]
    return {
        "prompt_tokens": cut,
        "lost_tokens": len(alone) - cut,
        "chosen_tokens": len(chosen) - cut,
        "rejected_tokens": len(rejected) - cut,
        "shared_tokens": _shared(chosen, rejected),
        "chosen_ends": not ends.isdisjoint(chosen[cut:][-TAIL:].tolist()),
        "rejected_ends": not ends.isdisjoint(rejected[cut:][-TAIL:].tolist()),
        "system_lost": any(system not in texts[0] for system in systems),
    }


def _shared(one: Ids, two: Ids) -> int:
    """How many tokens two sequences have in common at their beginning."""
    length = min(len(one), len(two))
    differs = one[:length] != two[:length]
    return int(differs.argmax()) if differs.any() else length
