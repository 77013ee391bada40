"""Log-probs of tokens in replies, in nats: those of the answer, and those of the request's own messages."""

import math
from collections.abc import Sequence
from typing import Any


def of_answer(content: Sequence[Any], text: str) -> float | None:
    """
    Return the mean log-prob of the tokens that make up a text.

    `content` is `logprobs.content` of a chat completion: per token its text, perhaps its bytes, and its log-prob.
    Tokens around the text (the end of the turn, thoughts) do not count. Null for an empty or malformed list, and where
    the text is not in the tokens.

        of_answer([{"token": "Hi", "logprob": -0.5}, {"token": "<|im_end|>", "logprob": -0.1}], "Hi")  # -0.5
    """
    numbers = [_number(token) for token in content]
    pieces = [] if None in numbers else [_bytes(token) for token in content]
    if not pieces or None in pieces:
        return None
    whole, wanted = b"".join(filter(None, pieces)), text.encode("utf-8", "surrogatepass")
    start = whole.rfind(wanted)
    if start < 0 or not wanted:
        return None
    found, place = [], 0
    for number, piece in zip(numbers, pieces, strict=True):
        if piece and place < start + len(wanted) and place + len(piece) > start:
            found.append(number)
        place += len(piece or b"")
    return _mean(found)


def of_prompt(listed: Sequence[Any], skip: int) -> float | None:
    """
    Return the mean log-prob of a prompt's tokens after the first `skip`.

    `listed` is vLLM's `prompt_logprobs`: per token null (the first has none) or a table of candidates by token id, of
    which the prompt's own comes first. Null where nothing is left, or for a malformed list.

        of_prompt([None, {"5": {"logprob": -1.0}}, {"9": {"logprob": -3.0}}], 1)  # -2.0
    """
    tokens = [next(iter(token.values()), None) if isinstance(token, dict) else None for token in listed[max(skip, 1) :]]
    numbers = [_number(token) for token in tokens]
    return None if None in numbers else _mean(numbers)


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return round(math.fsum(known) / len(known), 6) if known else None


def _number(token: Any) -> float | None:
    given: Any = token.get("logprob") if isinstance(token, dict) else None
    try:
        number = float(given) if type(given) in (int, float) else math.nan
    except OverflowError:
        return None
    return min(number, 0.0) if math.isfinite(number) else None


def _bytes(token: Any) -> bytes | None:
    """Return the bytes of a token, whose text may be a part of a letter only."""
    raw, text = token.get("bytes"), token.get("token")
    if isinstance(raw, list) and all(type(byte) is int and 0 <= byte < 256 for byte in raw):
        return bytes(raw)
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else None
