"""transformers models in this process: TransformersModel answers, RewardModel scores."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from curate.errors import InputError, require
from pipelines.clients.batches import EXTRA, Ids, batched, load, one_line, padded, rendered, token_limit
from pipelines.clients.requests import Messages, Reply, Request

MAX_TOKENS = 1024  # of an answer, unless the request sets it
SENTINEL = "userspeakshere"  # placeholder for the user's text, to find the beginning of a user turn in the template
# `response_format` is accepted but not enforced: replies are parsed as they come.
PARAMS = {
    "temperature", "top_p", "max_tokens", "seed", "stop", "continue_user", "chat_template_kwargs", "response_format",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled and when generation ends. Requests with equal sampling may share a batch."""

    temperature: float  # 0 = the most probable token
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]  # texts that end the answer and are not part of it
    ends: tuple[int, ...]  # tokens that end it


@dataclass(frozen=True, slots=True)
class Job:
    """A prepared request: its index, the tokens of its prompt, and its sampling."""

    place: int
    request: Request
    ids: Ids
    sampling: Sampling


class TransformersModel:
    """
    A chat model from a folder or the Hub: bfloat16 on a GPU, the dtype of the weights on the CPU.

    Parameters that a request does not set default to plain sampling (temperature 1, top_p 1), not to the model's
    generation config, so that the parameters stored with an answer are complete.
    """

    def __init__(self, name: str, *, device: str | None = None, batch_size: int = 8) -> None:
        transformers = require("transformers", EXTRA)
        tokenizer, model = load(transformers.AutoModelForCausalLM, name, device, "auto")
        if not tokenizer.chat_template:
            raise InputError(f"{name} has no chat template; expected a chat model (its name often ends in -Instruct)")
        self._use(model, tokenizer, batch_size)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, *, batch_size: int = 8) -> "TransformersModel":
        """Wrap a model that is already loaded, for example with an adapter, whose state at each request is used."""
        wrapped = cls.__new__(cls)
        wrapped._use(model, tokenizer, batch_size)
        return wrapped

    def _use(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        self._tokenizer, self._model, self._batch_size = tokenizer, model, batch_size
        defaults = model.generation_config
        self._ends = _token_ids(defaults.eos_token_id, tokenizer.eos_token_id)
        self._pad = (*_token_ids(tokenizer.pad_token_id), *self._ends, 0)[0]
        # Otherwise its own generation config would supply the parameters that are not set.
        model.generation_config = require("transformers", EXTRA).GenerationConfig(eos_token_id=list(self._ends) or None)
        self._context = token_limit(model)

    def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """
        Return replies in the order of the requests; a failed one carries its error and does not affect the others.

        The same list of requests gives the same replies. `seed` and `sample` distinguish requests; in another batch the
        same request may be answered differently.
        """
        replies: dict[int, Reply] = {}
        groups: dict[Sampling, list[Job]] = {}
        for place, request in enumerate(requests):
            try:
                job = self._job(place, request)
            except (InputError, TemplateError, TypeError, ValueError) as error:
                replies[place] = _failed(one_line(error))
                continue
            groups.setdefault(job.sampling, []).append(job)
        for jobs in groups.values():
            jobs.sort(key=lambda job: -len(job.ids))  # little padding, and the largest batch first
            for job, reply in batched(jobs, self._batch_size, self._answer, _failed):
                replies[job.place] = reply
        return [replies[place] for place in range(len(requests))]

    def _job(self, place: int, request: Request) -> Job:
        params = {name: value for name, value in request.params.items() if value is not None}
        if unsupported := sorted(set(params) - PARAMS):
            raise InputError(f"models in this process do not support the parameter {', '.join(unsupported)}")
        options = params.get("chat_template_kwargs", {})
        stop = params.get("stop", ())
        stop, ends = (stop,) if isinstance(stop, str) else tuple(stop), self._ends
        if params.get("continue_user"):
            text, turn_stop, turn_ends = self._user_turn(request.messages, options)
            stop, ends = (*stop, *turn_stop), (*turn_ends, *ends)
        else:
            text = rendered(self._tokenizer, request.messages, answer=True, **options)
        ids: Ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        room = self._context - len(ids)
        if room <= 0:
            raise InputError(
                f"the prompt of {len(ids)} tokens does not fit into the model's context of {self._context}"
            )
        sampling = Sampling(
            temperature=float(params.get("temperature", 1)),
            top_p=float(params.get("top_p", 1)),
            max_tokens=min(int(params.get("max_tokens", MAX_TOKENS)), room),
            stop=tuple(filter(None, stop)),
            ends=ends,
        )
        if sampling.temperature < 0 or not 0 < sampling.top_p <= 1 or sampling.max_tokens < 1:
            raise InputError(f"temperature, top_p or max_tokens is out of range: {sampling}")
        return Job(place, request, ids, sampling)

    def _user_turn(self, messages: Messages, options: Mapping[str, Any]) -> tuple[str, tuple[str, ...], Ids]:
        """Return the template up to the user's text, and what ends the user's turn: texts or tokens."""
        text = rendered(self._tokenizer, [*messages, {"role": "user", "content": SENTINEL}], answer=True, **options)
        before, found, after = text.rpartition(SENTINEL)
        if not found:
            raise InputError("the model's chat template does not include the user's text")
        after = after.strip()
        ids: Ids = self._tokenizer(after, add_special_tokens=False)["input_ids"]
        # Tokenizers attach a space to the following word: after a separate space the model would not start a word.
        before = before.rstrip(" ")
        if ids and ids[0] in self._tokenizer.added_tokens_decoder:
            return before, (), ids[:1]
        return before, tuple(after.splitlines()[:1]), []

    def _answer(self, jobs: Sequence[Job]) -> list[Reply]:
        """Generate one batch."""
        torch = require("torch", EXTRA)
        rows, mask = padded([job.ids for job in jobs], self._pad, self._model.device, left=True)
        gpus = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(gpus):  # leaves the caller's random state unchanged
            torch.manual_seed(_seed(jobs))
            out = self._model.generate(
                rows, attention_mask=mask, generation_config=self._config(jobs[0].sampling), tokenizer=self._tokenizer
            )
        return [self._reply(job, ids) for job, ids in zip(jobs, out[:, rows.shape[1] :].tolist(), strict=True)]

    def _config(self, sampling: Sampling) -> Any:
        # top_k defaults to 50 otherwise.
        sampled = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return require("transformers", EXTRA).GenerationConfig(
            **(sampled if sampling.temperature > 0 else {"do_sample": False}),
            max_new_tokens=sampling.max_tokens,
            stop_strings=list(sampling.stop) or None,
            eos_token_id=list(sampling.ends) or None,
            pad_token_id=self._pad,
        )

    def _reply(self, job: Job, ids: Ids) -> Reply:
        """Decode the tokens up to the end of the answer; rows of a batch are padded to the longest one."""
        ends = {*job.sampling.ends, self._pad}
        length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cuts = [text.index(stop) for stop in job.sampling.stop if stop in text]
        text = text[: min(cuts)] if cuts else text
        finish = "stop" if cuts or length < len(ids) else "length"
        if not text.strip():
            return Reply(None, finish, len(job.ids), length, error="the reply is empty")
        return Reply(text, finish, len(job.ids), length)


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


def _token_ids(*values: int | Sequence[int] | None) -> tuple[int, ...]:
    """Flatten and deduplicate: configurations hold one token id, several or none."""
    lists = ([value] if isinstance(value, int) else value or [] for value in values)
    return tuple(dict.fromkeys(number for numbers in lists for number in numbers))


def _seed(jobs: Sequence[Job]) -> int:
    """Derive a seed from the requests, including their own seeds, and nothing else."""
    keys = "".join(job.request.key("") for job in jobs)
    return int.from_bytes(hashlib.sha256(keys.encode()).digest()[:7])


def _failed(error: str) -> Reply:
    return Reply(None, error=error)
