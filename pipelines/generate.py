"""Sample candidates: n answers per model to every prompt, spread over temperatures and system prompts."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from curate.errors import RecipeError
from curate.recipe.models import Generate, Model
from curate.recipe.options import REQUEST, options
from curate.schema import CANDIDATES, MESSAGES, digest
from pipelines.clients.requests import OF_ANSWER, Messages, Reply, Request, SendRequests


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the answers to every prompt: its model and how it is requested."""

    model: Model
    params: Mapping[str, Any]  # fields of the chat completion
    system: str | None
    sample: int  # index among this model's answers: 0, 1, …
    retry_cut: float = 1  # times the tokens, for one more request after an answer that was cut off
    on_policy: bool = False  # the model is the one to be trained
    with_logps: bool = False  # its log-probs are asked for with the answer

    def request(self, prompt: Messages) -> Request:
        """Build the request for one prompt. A system prompt of the recipe replaces the prompt's own."""
        turns = [turn for turn in prompt if turn["role"] != "system"] if self.system else list(prompt)
        system = [{"role": "system", "content": self.system}] if self.system else []
        params = {**OF_ANSWER, **self.params} if self.with_logps else self.params
        request = Request([*system, *turns], params, self.sample)
        longer = self._longer(request)
        return replace(request, then=lambda reply: longer if reply.finish_reason == "length" else None)

    def at_most(self, prompt: Messages) -> list[Request]:
        """The requests for one prompt if the answer is cut off."""
        request = self.request(prompt)
        return [request, *filter(None, [self._longer(request)])]

    def _longer(self, request: Request) -> Request | None:
        """The request after an answer that was cut off, if there is one."""
        room = int(request.max_tokens * self.retry_cut)
        return request.with_room(room) if room > request.max_tokens else None

    @property
    def settings(self) -> str:
        """Everything that determines the answer except the prompt, as JSON."""
        return self._json(self.params)

    @property
    def shown(self) -> str:
        """The same without the user's own request fields, which may name people and places: the JSON of `params`."""
        return self._json({k: v for k, v in self.params.items() if k in options(self.params, REQUEST)})

    def _json(self, params: Mapping[str, Any]) -> str:
        return json.dumps({**params, "system": self.system, "sample": self.sample}, ensure_ascii=False)


def check(section: Generate) -> None:
    """Raise RecipeError where two answers to a prompt would be the same request to models of the same name."""
    seen = set[tuple[str, str]]()
    for variant in variants(section):
        name = variant.model.name
        if (name, variant.settings) in seen:
            raise RecipeError(
                f"generate.models: {name} is listed twice with equal settings; for more answers raise "
                f"generate.n, for other answers give it another temperature or system prompt"
            )
        seen.add((name, variant.settings))


def variants(section: Generate) -> list[Variant]:
    """
    Return the variants of an answer, model by model. Answer i takes temperature i, cyclically, and the next system
    prompt after each cycle; its seed is `seed + i`, so that a server that supports seeds gives different answers that
    are reproducible.
    """
    return [_variant(section, model, sample) for model in section.models for sample in range(section.n)]


def _variant(section: Generate, model: Model, sample: int) -> Variant:
    degrees = section.temperatures
    temperature = model.temperature if model.temperature is not None else degrees[sample % len(degrees)]
    turn = sample // len(degrees) if model.temperature is None else sample
    system = model.system or (section.systems[turn % len(section.systems)] if section.systems else None)
    params: dict[str, Any] = {"temperature": temperature, "max_tokens": model.max_tokens or section.max_tokens}
    if model.top_p is not None:
        params["top_p"] = model.top_p
    if section.seed is not None:
        params["seed"] = section.seed + sample
    on_policy = section.is_on_policy(model)
    # Under a system prompt that the pairs do not have, an answer has another likelihood.
    with_logps = on_policy and section.on_policy is not None and system is None
    return Variant(model, params | model.extra, system, sample, section.retry_cut, on_policy, with_logps)


def generate(prompts: pl.DataFrame, section: Generate, clients: Mapping[str, SendRequests]) -> pl.DataFrame:
    """
    in : PROMPTS; a function per model that sends requests
    out: CANDIDATES, prompt by prompt, in the order of `variants`; a failed answer is a row with a null response

    An answer that was cut off at max_tokens is asked for once more with more room, where the budget allows that. If it
    is cut off again, it keeps its text and has finish_reason "length". An answer without text that has a finish_reason
    is final: the model, or its filter, gave none.
    """
    wanted = variants(section)
    asked = prompts.get_column("prompt").to_list()
    replies = ask_together([(v.model.model, [v.request(prompt) for prompt in asked]) for v in wanted], clients)
    blocks = [_answers(prompts, v, got) for v, got in zip(wanted, replies, strict=True)]
    if not blocks:
        return pl.DataFrame(schema=CANDIDATES)
    order = pl.concat([pl.int_range(len(prompts), eager=True) for _ in wanted])
    rows = pl.concat(blocks).with_columns(order.alias("place")).sort("place", maintain_order=True).drop("place")
    return rows.with_columns(
        candidate_id=digest(pl.concat_str("prompt_id", "model", "settings", separator="\n")),
    ).select(list(CANDIDATES))


def ask_together(
    wanted: Sequence[tuple[str, Sequence[Request]]], clients: Mapping[str, SendRequests]
) -> list[list[Reply]]:
    """Send all requests to several models at once; replies come in the order of `wanted`."""
    models = list(dict.fromkeys(model for model, _ in wanted))

    def ask(model: str) -> list[Reply]:
        return clients[model]([request for name, requests in wanted if name == model for request in requests])

    with ThreadPoolExecutor(max(1, len(models))) as pool:
        replies = {model: iter(got) for model, got in zip(models, pool.map(ask, models), strict=True)}
    return [[next(replies[model]) for _ in requests] for model, requests in wanted]


def _answers(prompts: pl.DataFrame, variant: Variant, replies: Sequence[Reply]) -> pl.DataFrame:
    texts = [[{"role": "assistant", "content": r.text}] if r.text is not None else None for r in replies]
    return prompts.select("prompt_id", "prompt", "source", "source_row").with_columns(
        pl.Series("response", texts, dtype=MESSAGES),
        pl.lit(variant.model.name).alias("model"),
        pl.lit(variant.shown).alias("params"),
        pl.lit(variant.settings).alias("settings"),
        pl.lit(variant.on_policy).alias("on_policy"),
        pl.Series("finish_reason", [r.finish_reason for r in replies], dtype=pl.String),
        pl.Series("input_tokens", [r.input_tokens for r in replies], dtype=pl.UInt32),
        pl.Series("output_tokens", [r.output_tokens for r in replies], dtype=pl.UInt32),
        pl.Series("error", [r.error for r in replies], dtype=pl.String),
        pl.Series("reasoning", [r.reasoning for r in replies], dtype=pl.String),
        pl.Series("logp_per_token", [r.logp_per_token if variant.with_logps else None for r in replies], pl.Float64),
        pl.lit(None, CANDIDATES["score"]).alias("score"),
        pl.lit(None, CANDIDATES["scores"]).alias("scores"),
        pl.lit(None, pl.String).alias("reason"),
        pl.lit(None, pl.String).alias("judge"),
    )
