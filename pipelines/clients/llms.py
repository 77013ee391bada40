"""
Models as distilabel LLMs. Only this module and tasks.py import distilabel.

`ChatLLM` also works in any distilabel pipeline: `TextGeneration(llm=pipelines.connect("openai:gpt-4o-mini"))`. Compared
to distilabel's own client a failure affects one request only, equal requests are sent once, and it is several times as
fast.
"""

import asyncio
import inspect
import threading
import warnings
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar, cast

from pydantic import PrivateAttr

from curate.errors import RecipeError
from curate.recipe.models import Model
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.completions import ONLY_REASONING
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.endpoint import Endpoint
from pipelines.clients.keys import api_key
from pipelines.clients.requests import Reply, Request

# pydantic warns about every class of distilabel and every subclass; users can do nothing about it.
warnings.filterwarnings("ignore", message="The 'default' attribute with value None was provided")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from distilabel.models.llms.base import LLM, AsyncLLM

T = TypeVar("T")
# Fields of a chat completion; `generation_kwargs` accepts any other as well.
FIELDS = ("temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty")
TIMEOUT = 180.0  # seconds per request, unless the recipe sets it
REQUESTS_PER_CHUNK = 64  # to a model in this process; the same chunks at every start, hence the same batches


class Loop:
    """An event loop in its own thread, so that connections and limits outlive a single call."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="requests")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from another thread and return its result."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def cancel(self) -> None:
        """Cancel all running tasks."""
        if not self._loop.is_running():
            return

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()

    def close(self) -> None:
        """Cancel all running tasks and end the thread."""
        if self._loop.is_running():
            self.cancel()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def _outputs(replies: Sequence[Reply]) -> dict[str, Any]:
    """Convert replies to distilabel's output for one input; what else it has in extra columns."""
    return {
        "generations": [reply.text for reply in replies],
        "statistics": {
            "input_tokens": [reply.input_tokens for reply in replies],
            "output_tokens": [reply.output_tokens for reply in replies],
        },
        "finish_reason": [reply.finish_reason for reply in replies],
        "error": [reply.error for reply in replies],
        "reasoning": [reply.reasoning for reply in replies],
        "logp_per_token": [reply.logp_per_token for reply in replies],
    }


def _requests(given: Any, n: int, params: dict[str, Any]) -> list[Request]:
    """Return a `Request` as it is, and a distilabel conversation as `n` requests."""
    if isinstance(given, Request):
        return [given]
    messages = given[0] if isinstance(given, tuple) else given
    seed = params.get("seed")
    seeds = [{} if seed is None else {"seed": seed + sample} for sample in range(n)]
    return [Request(messages, params | seeded, sample) for sample, seeded in enumerate(seeds)]


class ChatLLM(AsyncLLM):
    """A model behind an OpenAI-compatible endpoint; `generation_kwargs` are fields of the chat completion."""

    spec: Model
    base_url: str
    key_env: str | None = None  # the key itself is read on load and never kept in a field, which would be serialized
    cache: str | None = None  # where replies are stored outside a run; null = in memory

    _dispatcher: Dispatcher | None = PrivateAttr(None)
    _loop: Loop | None = PrivateAttr(None)
    _endpoint: Endpoint | None = PrivateAttr(None)
    _own: bool = PrivateAttr(default=False)  # this object created dispatcher and loop, and closes them

    @property
    def model_name(self) -> str:
        """The model's line in the recipe."""
        return self.spec.model

    @property
    def generate_parameters(self) -> list[inspect.Parameter]:
        """Runtime parameters for distilabel, which would take `**params` of the signature for a required one."""
        return [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in FIELDS]

    def attach(self, dispatcher: Dispatcher, loop: Loop) -> None:
        """Use the dispatcher and loop of a run."""
        self._dispatcher, self._loop = dispatcher, loop

    def load(self) -> None:
        """Open the endpoint. In a distilabel pipeline this happens in the task's own process."""
        super().load()
        if self._dispatcher is None:
            self.attach(Dispatcher(RequestCache(self.cache or ":memory:"), Budget(None, [self.spec])), Loop())
            self._own = True
        if self._endpoint is None:
            self._endpoint = Endpoint(
                self.spec.model.partition(":")[2] or self.spec.model,
                self.base_url,
                api_key=api_key(self.key_env) if self.key_env else None,
                key_name=self.key_env or "api_key_env",
                concurrency=self.spec.concurrency,
                host=self._dispatcher.hosts.of(self.base_url) if self._dispatcher else None,
                timeout=self.spec.timeout or TIMEOUT,
                retries=self.spec.retries,
                patience=self.spec.patience,
                max_bytes=self.spec.max_reply_bytes,
            )

    def unload(self) -> None:
        """Close the connections."""
        super().unload()
        if self._endpoint is not None and self._loop is not None:
            self._loop.run(self._endpoint.close())
            self._endpoint = None
        if self._own and self._dispatcher is not None and self._loop is not None:
            self._loop.close()
            self._dispatcher.cache.close()
            self._dispatcher, self._loop, self._own = None, None, False

    async def agenerate(self, input: Any, num_generations: int = 1, **params: Any) -> dict[str, Any]:  # noqa: A002 - distilabel's
        """Answer one conversation or `Request`. A failure is a null generation with its error."""
        if self._dispatcher is None or self._endpoint is None:
            raise RecipeError(f"{self.model_name}: call load() first")
        asked = [
            self._dispatcher.ask(self.model_name, request, self._endpoint.ask, self._heard)
            for request in _requests(input, num_generations, params)
        ]
        return _outputs(await asyncio.gather(*asked))

    def _heard(self, reply: Reply) -> Reply:
        if self.spec.reasoning_as_answer and reply.error == ONLY_REASONING:
            return replace(reply, text=reply.reasoning, reasoning=None, error=None)
        return reply

    def generate(self, inputs: list[Any], num_generations: int = 1, **params: Any) -> list[dict[str, Any]]:
        """
        Answer many conversations at once. Raises CurateError for failures that affect every request, once the running
        requests have ended.
        """
        if self._loop is None:
            raise RecipeError(f"{self.model_name}: call load() first")
        return self._loop.run(self._all(inputs, num_generations, params))

    async def _all(self, inputs: list[Any], n: int, params: dict[str, Any]) -> list[dict[str, Any]]:
        asked = (self.agenerate(given, n, **params) for given in inputs)
        outputs = await asyncio.gather(*asked, return_exceptions=True)
        for output in outputs:
            if isinstance(output, BaseException):
                raise output
        return cast("list[dict[str, Any]]", outputs)


class LocalLLM(LLM):
    """A transformers model in this process: batched, and on the GPU if there is one."""

    spec: Model

    _dispatcher: Dispatcher | None = PrivateAttr(None)
    _model: Any = PrivateAttr(None)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)  # concurrent batches would only compete for the device

    @property
    def model_name(self) -> str:
        """The model's line in the recipe."""
        return self.spec.model

    def attach(self, dispatcher: Dispatcher) -> None:
        """Use the dispatcher of a run."""
        self._dispatcher = dispatcher

    def load(self) -> None:
        """Load the weights."""
        from pipelines.clients.local import TransformersModel

        super().load()
        if self._dispatcher is None:
            self.attach(Dispatcher(RequestCache(":memory:"), Budget(None, [self.spec])))
        self._model = TransformersModel(self.spec.model.partition(":")[2])

    def generate(self, inputs: list[Any], num_generations: int = 1, **params: Any) -> list[dict[str, Any]]:
        """Answer many conversations, in the same batches at every start, so that the answers are reproducible."""
        asked = [request for given in inputs for request in _requests(given, num_generations, params)]
        replies: list[Reply] = []
        with self._lock:
            for start in range(0, len(asked), REQUESTS_PER_CHUNK):
                replies += self._generate_chunk(asked[start : start + REQUESTS_PER_CHUNK])
        step = len(asked) // len(inputs) if inputs else 1
        return [_outputs(replies[start : start + step]) for start in range(0, len(replies), step)]

    def _generate_chunk(self, requests: list[Request]) -> list[Reply]:
        """Answer a chunk, then all requests that follow from its replies, and so on."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            raise RecipeError(f"{self.model_name}: call load() first")
        current, replies = dict(enumerate(requests)), dict[int, Reply]()
        while current:
            batch = list(current.values())
            answered = zip(current.items(), self._generate_batch(batch, dispatcher), strict=True)
            for (place, request), reply in answered:
                before = replies.get(place)
                replies[place] = dispatcher.counting(request, before, reply) if before else reply
            next_ones = {place: dispatcher.following(request, replies[place]) for place, request in current.items()}
            current = {place: request for place, request in next_ones.items() if request is not None}
        return [replies[place] for place in range(len(requests))]

    def _generate_batch(self, requests: list[Request], dispatcher: Dispatcher) -> list[Reply]:
        stored = [dispatcher.stored(self.model_name, request) for request in requests]
        if all(stored):
            return [reply for reply in stored if reply]
        fresh = self._model.generate(requests)
        for request, known, reply in zip(requests, stored, fresh, strict=True):
            if known is None:
                dispatcher.settle(self.model_name, request, reply)
        return [known or reply for known, reply in zip(stored, fresh, strict=True)]
