"""A reward model in this process."""

from collections.abc import Sequence

from jinja2 import TemplateError

from curate.embeddings.local_models import Ids, batched, load_reward, one_line, rewards, token_limit
from curate.errors import InputError
from curate.text.sequences import conversation_ids
from pipelines.clients.requests import Messages


class RewardModel:
    """
    A sequence classifier with one label, as a judge: the higher its number, the better. From a folder or the Hub; in
    bfloat16 on a GPU, in float32 on the CPU.
    """

    def __init__(self, name: str, *, device: str | None = None, batch_size: int = 8) -> None:
        self._batch_size = batch_size
        self._tokenizer, self._model = load_reward(name, device)
        self._context = token_limit(self._model, self._tokenizer.model_max_length)

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
                fitted.append(conversation_ids(self._tokenizer, messages, self._context))
            except TemplateError as error:  # an unsupported order of roles, or a system prompt
                fitted.append(None)
                refused = one_line(error)
        return fitted, refused

    def _numbers(self, jobs: Sequence[tuple[int, Ids]]) -> list[float | None]:
        return rewards(self._model, [ids for _, ids in jobs])
