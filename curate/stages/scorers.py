"""Models that give a number to every answer: what they read of a pair, and the numbers, cached by what was read."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from jinja2 import TemplateError

from curate.embeddings.local_models import (
    batched,
    load_causal,
    load_reward,
    log_probs,
    one_line,
    rewards,
    token_batches,
    token_limit,
)
from curate.embeddings.number_cache import KEY, NumberCache
from curate.errors import InputError
from curate.schema import widened
from curate.terminal import progress
from curate.text.sequences import SIDES, SegmentTokenizer, all_sequences, conversation_ids

TOO_LONG = "too long"
TOKENIZED_AT_ONCE = 2_000  # pairs


class Answer(NamedTuple):
    """What a model reads of an answer: the tokens of the whole conversation, and which is the first of the answer."""

    ids: list[int]
    start: int = 0

    @property
    def key(self) -> bytes:
        """A hash of it, by which its number is cached."""
        read = np.array([self.start, *self.ids], np.int32).tobytes()
        return hashlib.blake2b(read, digest_size=KEY).digest()


class Scorer(Protocol):
    """A loaded model."""

    name: str
    limit: int  # tokens

    def answers(self, pairs: pl.DataFrame) -> list[Answer | str]:
        """Return chosen and rejected of every pair in turn, or why one is not measured: TOO_LONG, or an error."""

    def numbers(self, answers: Sequence[Answer]) -> list[float | None]:
        """Score answers in one batch; None for a number that is not finite."""


class RewardScorer:
    """The score of a reward model. Of a conversation that is too long the oldest exchanges are left out."""

    def __init__(self, name: str, max_tokens: int | None) -> None:
        self.name = name
        self._tokenizer, self._model = load_reward(name)
        self.limit = token_limit(self._model, self._tokenizer.model_max_length, *([max_tokens] if max_tokens else []))

    def answers(self, pairs: pl.DataFrame) -> list[Answer | str]:
        """See Scorer."""
        rows = widened(pairs).select("prompt", *SIDES, "tools").iter_rows(named=True)
        return [self._answer(row, side) for row in rows for side in SIDES]

    def _answer(self, row: dict[str, Any], side: str) -> Answer | str:
        try:
            ids = conversation_ids(self._tokenizer, [*row["prompt"], *row[side]], self.limit, row["tools"])
        except (TemplateError, TypeError, ValueError) as error:
            return one_line(error) or type(error).__name__
        return TOO_LONG if ids is None else Answer(ids)

    def numbers(self, answers: Sequence[Answer]) -> list[float | None]:
        """See Scorer."""
        return rewards(self._model, [answer.ids for answer in answers])


class LikelihoodScorer:
    """The log-likelihood of an answer given its prompt, in nats, as TRL computes it."""

    def __init__(self, name: str, max_tokens: int | None, tokenizer: Any = None) -> None:
        self.name = name
        own, self._model = load_causal(name, chat=tokenizer is None)
        if tokenizer is not None:
            self._check_tokenizer(own, tokenizer)
        self.tokenizer = tokenizer or own
        self._segments = SegmentTokenizer(self.tokenizer)
        self.limit = token_limit(self._model, *([max_tokens] if max_tokens else []))

    def answers(self, pairs: pl.DataFrame) -> list[Answer | str]:
        """See Scorer."""
        found: list[Answer | str] = []
        for block in pairs.iter_slices(TOKENIZED_AT_ONCE):
            for row in all_sequences(block, self.tokenizer, self._segments):
                if isinstance(row, str):
                    found += [row, row]
                    continue
                prompt, *both = (ids.tolist() for ids in row)
                found += [self._answer(prompt, answer) for answer in both]
        return found

    def _answer(self, prompt: list[int], answer: list[int]) -> Answer | str:
        if not prompt:
            return "the chat template makes nothing of the prompt"
        return TOO_LONG if len(prompt) + len(answer) > self.limit else Answer([*prompt, *answer], len(prompt))

    def numbers(self, answers: Sequence[Answer]) -> list[float | None]:
        """See Scorer."""
        found = log_probs(self._model, [(answer.ids[: answer.start], answer.ids[answer.start :]) for answer in answers])
        sums = [math.fsum(tokens) for tokens in found]
        return [each if math.isfinite(each) else None for each in sums]

    def _check_tokenizer(self, own: Any, policy: Any) -> None:
        ours, theirs = policy.get_vocab(), own.get_vocab()
        rows = self._model.get_input_embeddings().num_embeddings
        if any(theirs.get(token, number) != number for token, number in ours.items()) or max(ours.values()) >= rows:
            raise InputError(f"models.reference: {self.name} has another tokenizer than models.policy")


@dataclass(frozen=True, slots=True)
class Numbers:
    """
    The numbers of all answers under one model.

    values: [rows, 2] for chosen and rejected, NaN for none. tokens: [rows, 2] of the answers. missing: how many answers
    were not measured: too_long, refused by the chat template, failed in the model.
    """

    values: np.ndarray
    tokens: np.ndarray
    missing: dict[str, int] = field(default_factory=dict)


def numbers_of(
    what: str, scorer: Scorer, blocks: Iterable[pl.DataFrame], cache: NumberCache, batch_tokens: int, total: int
) -> Numbers:
    """
    Score both answers of every pair; equal conversations are scored once.

    in : blocks of PAIR with `usable` (bool; other rows are not scored); `total`, the number of all rows
    Raises InputError if the chat template refuses everything.
    """
    values, tokens = [np.empty((0, 2))], [np.empty((0, 2), np.int64)]
    missing: Counter[str] = Counter()
    refusal = ""
    with progress(what, 2 * total, "answers") as advance:
        for block in blocks:
            found = scorer.answers(block.filter("usable"))
            keys = [None if isinstance(answer, str) else answer.key for answer in found]
            scored = _score(scorer, found, keys, cache, batch_tokens, advance)
            advance(2 * len(block) - scored)
            numbers = [math.nan if key is None else cache.get(key) for key in keys]
            lengths = [0 if isinstance(answer, str) else len(answer.ids) - answer.start for answer in found]
            values.append(_placed(block, numbers, math.nan))
            tokens.append(_placed(block, lengths, 0))
            for answer, number in zip(found, numbers, strict=True):
                if isinstance(answer, str):
                    missing["too_long" if answer == TOO_LONG else "refused"] += 1
                    refusal = refusal or (answer if answer != TOO_LONG else "")
                elif math.isnan(number):
                    missing["failed"] += 1
    result = Numbers(np.concatenate(values), np.concatenate(tokens), dict(sorted(missing.items())))
    if refusal and not result.tokens.any() and not missing["too_long"]:
        raise InputError(f"{what}: the chat template of {scorer.name} refuses all conversations: {refusal}")
    return result


def _score(
    scorer: Scorer,
    found: Sequence[Answer | str],
    keys: Sequence[bytes | None],
    cache: NumberCache,
    batch_tokens: int,
    advance: Callable[[int], None],
) -> int:
    """Add the numbers of all answers that are not in the cache, batch by batch; return how many these are."""
    new = {key: answer for key, answer in zip(keys, found, strict=True) if key and key not in cache}
    jobs = sorted(((k, a) for k, a in new.items() if isinstance(a, Answer)), key=lambda job: -len(job[1].ids))

    def run(batch: Sequence[tuple[bytes, Answer]]) -> list[float | None]:
        return scorer.numbers([answer for _, answer in batch])

    for place in token_batches([len(answer.ids) for _, answer in jobs], batch_tokens):
        batch = jobs[place]
        done = batched(batch, len(batch), run, lambda _: None)
        cache.add({key: number for (key, _), number in done if number is not None})
        advance(len(batch))
    return len(jobs)


def _placed(block: pl.DataFrame, values: Sequence[float], other: float) -> np.ndarray:
    """Return [rows, 2] of the block with values of its usable rows, `other` elsewhere."""
    kind = np.float64 if math.isnan(other) else np.int64
    placed = np.full((len(block), 2), other, kind)
    placed[block.get_column("usable").to_numpy()] = np.array(values, kind).reshape(-1, 2)
    return placed
