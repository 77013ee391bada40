"""A reward model in this process."""

import math
from collections.abc import Sequence

from jinja2 import TemplateError

from curate.errors import InputError, require
from pipelines.clients.batches import EXTRA, Ids, batched, load, one_line, padded, rendered, token_limit
from pipelines.clients.requests import Messages


class RewardModel:
    """
    A sequence classifier with one label, as a judge: the higher its number, the better. From a folder or the Hub; in
    bfloat16 on a GPU, in float32 on the CPU.
    """

    def __init__(self, name: str, *, device: str | None = None, batch_size: int = 8) -> None:
        transformers = require("transformers", EXTRA)
        self._batch_size = batch_size
        kind = transformers.AutoModelForSequenceClassification
        self._tokenizer, self._model = load(kind, name, device, "float32")
        if self._model.config.num_labels != 1:
            raise InputError(f"{name} is not a reward model: it has {self._model.config.num_labels} labels, expected 1")
        self._context = token_limit(self._model, self._tokenizer.model_max_length)
        self._pad: int | None = self._model.config.get_text_config().pad_token_id

    def score(self, conversations: Sequence[Messages]) -> list[float | None]:
        """
        Return one score per conversation; the last turn of each is the answer to score.

        If a conversation is too long for the model, its oldest exchanges are dropped as a whole; the system prompt
        stays. The score is null if the last exchange alone is too long (truncated, it would be a different answer), or
        if the chat template rejects the conversation.
        """
        fitted, refused = self._fitted(conversations)
        if refused and not any(fitted):  # not a single odd conversation, but a mismatch with the model
            raise InputError(f"the reward model's chat template rejects all conversations: {refused}")
        jobs = sorted(((place, ids) for place, ids in enumerate(fitted) if ids), key=lambda job: -len(job[1]))
        scored = batched(jobs, self._batch_size, self._numbers, lambda _: None)
        scores = {place: number for (place, _), number in scored}
        return [scores.get(place) for place in range(len(fitted))]

    def _fitted(self, conversations: Sequence[Messages]) -> tuple[list[Ids | None], str]:
        fitted: list[Ids | None] = []
        refused = ""
        for messages in conversations:
            try:
                fitted.append(self._fit(messages))
            except TemplateError as error:  # an unsupported order of roles, or a system prompt
                fitted.append(None)
                refused = one_line(error)
        return fitted, refused

    def _fit(self, messages: Messages) -> Ids | None:
        system = [message for message in messages[:1] if message["role"] in {"system", "developer"}]
        turns = list(messages[len(system) :])
        while len(ids := self._ids([*system, *turns])) > self._context:
            if len(turns) < 4:
                return None
            turns = turns[2:]
        return ids

    def _ids(self, messages: Messages) -> Ids:
        if self._tokenizer.chat_template:
            text = rendered(self._tokenizer, messages, answer=False)
        else:
            text = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        special = not self._tokenizer.chat_template  # a chat template includes them
        ids: Ids = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids

    def _numbers(self, jobs: Sequence[tuple[int, Ids]]) -> list[float | None]:
        """Score one batch."""
        torch = require("torch", EXTRA)
        rows = [ids for _, ids in jobs]
        pad = self._pad
        if pad is None:
            # Decoders read the score at the last token that is not padding. Without a padding token of the model's own,
            # any token works that is not the last one of a row.
            pad = min(set(range(len(rows) + 1)) - {ids[-1] for ids in rows})
            self._model.config.get_text_config().pad_token_id = pad
        ids, mask = padded(rows, pad, self._model.device, left=False)
        with torch.inference_mode():
            numbers = self._model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
        return [number if math.isfinite(number) else None for number in numbers]
