"""A transformers model in this process, which answers, and says how likely texts are."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from curate.embeddings.local_models import (
    EXTRA,
    SCORED_AT_ONCE,
    Ids,
    batched,
    load,
    log_probs,
    one_line,
    padded,
    token_limit,
)
from curate.errors import InputError, require
from curate.text.chat import render_chat
from pipelines.clients.requests import OF_ANSWER, OF_PROMPT, Messages, Reply, Request

MAX_TOKENS = 1024  # of an answer, unless the request sets it
SENTINEL = "userspeakshere"  # placeholder for the user's text, to find the beginning of a user turn in the template
# `response_format` is accepted but not enforced: replies are parsed as they come. Log-probs are only reported of
# messages: the answers of a model in this process are as quickly read once more.
PARAMS = {
    "temperature", "top_p", "max_tokens", "seed", "stop", "continue_user", "chat_template_kwargs", "response_format",
    *OF_ANSWER,
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
        read: list[tuple[int, Ids, int]] = []
        for place, request in enumerate(requests):
            try:
                if request.params.keys() >= OF_PROMPT.keys():
                    read.append((place, self._whole(request), max(request.skip, 1)))
                    continue
                job = self._job(place, request)
            except (InputError, TemplateError, TypeError, ValueError) as error:
                replies[place] = _failed(one_line(error))
                continue
            groups.setdefault(job.sampling, []).append(job)
        for jobs in groups.values():
            jobs.sort(key=lambda job: -len(job.ids))  # little padding, and the largest batch first
            for job, reply in batched(jobs, self._batch_size, self._answer, _failed):
                replies[job.place] = reply
        read.sort(key=lambda one: -len(one[1]))
        for (place, _, _), reply in batched(read, SCORED_AT_ONCE, self._log_probs, _failed):
            replies[place] = reply
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
            text = render_chat(self._tokenizer, request.messages, add_generation_prompt=True, **options)
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
        text = render_chat(
            self._tokenizer, [*messages, {"role": "user", "content": SENTINEL}], add_generation_prompt=True, **options
        )
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

    def _whole(self, request: Request) -> Ids:
        """Return the tokens of a conversation up to the end of its last text."""
        options = request.params.get("chat_template_kwargs", {})
        text = render_chat(
            self._tokenizer, request.messages, add_generation_prompt=False, continue_final_message=True, **options
        )
        ids: Ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) > self._context:
            raise InputError(
                f"the conversation of {len(ids)} tokens does not fit into the model's context of {self._context}"
            )
        return ids

    def _log_probs(self, read: Sequence[tuple[int, Ids, int]]) -> list[Reply]:
        """Return the mean log-prob of the tokens of each conversation after the first ones; null without any."""
        found = log_probs(self._model, [(ids[:skip], ids[skip:]) for _, ids, skip in read])
        means = [math.fsum(tokens) / len(tokens) if tokens else None for tokens in found]
        return [
            Reply("", "stop", len(ids), 0, logp_per_token=mean) for (_, ids, _), mean in zip(read, means, strict=True)
        ]

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
