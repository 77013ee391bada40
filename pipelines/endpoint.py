"""One OpenAI-compatible endpoint over aiohttp: a fault touches one request, and is told apart from a wrong key."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from curate.errors import RecipeError, ServiceError, nearest
from pipelines.limits import FIRST_DELAY, Limiter, backoff
from pipelines.requests import Messages, Reply, Request

if TYPE_CHECKING:
    import aiohttp

SHOWN = 200  # characters of what an endpoint said that go into a message
SENTINEL = "¶user¶"  # stands for what the user says
HOPELESS = 10  # refusals in a row without any answer: then it is not the single request that is wrong
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529)
Hold = Callable[[Request], AbstractAsyncContextManager[None]]  # the budget: lets a request through, or raises


@dataclass(frozen=True, slots=True)
class Again:
    """A try that failed where another may not."""

    why: str
    wait: float | None = None  # seconds the endpoint asked for
    busy: bool = False  # 429: the endpoint lives, it is only too much


class Endpoint:
    """
    Chat completions of one model at one address. `ask` gives the reply, or a reply with the error of a request that
    cannot be answered; it raises where going on is pointless: ServiceError for a refused key, no credit, or an endpoint
    that is silent for `patience` seconds; RecipeError for a model that is not there.
    """

    def __init__(  # noqa: PLR0913 - what an endpoint is
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        key_name: str = "api key",
        concurrency: int = 32,
        timeout: float = 180,
        retries: int = 6,
        patience: float = 300,
        first_delay: float = FIRST_DELAY,
    ) -> None:
        self.model, self.base_url = model, base_url.rstrip("/")
        self._api_key, self._key_name = api_key, key_name
        self._timeout, self._retries, self._patience = timeout, retries, patience
        self._first_delay = first_delay
        self._limiter = Limiter(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._last_answer = 0.0  # by the loop's clock
        self._answers = 0
        self._refusals = 0
        self._turn_start: str | None = None  # the chat template before and after what the user says
        self._turn_end: list[str] = []
        self._structured = True  # until the endpoint says that it does not know response_format

    async def ask(self, request: Request, hold: Hold) -> Reply:
        """The answer to one request, tried again as often as it makes sense."""
        clock = asyncio.get_running_loop().time
        first_answers, first_failure, tries = self._answers, None, 0
        while True:
            async with self._limiter(), hold(request):
                outcome = await self._try(request)
            if isinstance(outcome, Reply):
                return outcome
            tries += not outcome.busy
            if tries > self._retries and self._answers > first_answers:
                return Reply(None, error=f"{outcome.why}, {tries} times")
            wait = outcome.wait if outcome.wait is not None else backoff(tries, self._first_delay)
            first_failure = first_failure or clock()
            silent = clock() - max(self._last_answer, first_failure)
            if silent + wait > self._patience:
                raise ServiceError(
                    f"{self.model} at {self.base_url}: no answer for {silent:.0f} s ({outcome.why}). "
                    f"What was answered is kept; the same command goes on when the endpoint does"
                )
            if outcome.busy:
                self._limiter.refused(wait)
            else:
                await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes, Mapping[str, str]]:
        """One request as it is: status, body, headers."""
        data = msgspec.json.encode(body)
        async with self._connect().post(self.base_url + path, data=data) as response:
            return response.status, await response.read(), response.headers

    def _connect(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),  # the limiter is the limit
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers=headers,
                trust_env=True,  # a proxy that the environment names
            )
        return self._session

    async def _try(self, request: Request) -> Reply | Again:
        import aiohttp

        params = {key: value for key, value in request.params.items() if value is not None}
        if not self._structured:
            params.pop("response_format", None)
        try:
            if params.pop("continue_user", False):
                given: dict[str, Any] = {"prompt": await self._user_turn(request.messages), "stop": self._turn_end}
                status, body, headers = await self.post("/completions", given | params)
            else:
                given = {"model": self.model, "messages": request.messages}
                status, body, headers = await self.post("/chat/completions", given | params)
        except TimeoutError:
            return Again(f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Again(self._plain(str(error) or type(error).__name__))
        if status == 200:
            return self._read(body)
        return await self._refused(status, body, headers, structured="response_format" in params)

    def _read(self, body: bytes) -> Reply | Again:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError:
            return Again("the reply is no chat completion")
        if not answer.choices:
            return Again("the reply holds no choice")
        choice, usage = answer.choices[0], answer.usage or _Usage()
        message = choice.message or _Message(choice.text)
        text = message.content or message.refusal or ""
        if not text.strip():
            if choice.finish_reason == "length":  # as reasoning models do when max_tokens is small
                return Reply(
                    None,
                    "length",
                    usage.prompt_tokens,
                    usage.completion_tokens,
                    error="cut off at max_tokens before any text",
                )
            return Again("the reply is empty")
        self._last_answer = asyncio.get_running_loop().time()
        self._answers += 1
        self._limiter.answered()
        return Reply(text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens)

    async def _refused(
        self, status: int, body: bytes, headers: Mapping[str, str], *, structured: bool
    ) -> Reply | Again:
        said = self._plain(_message(body))
        place = f"{self.model} at {self.base_url}"
        if status == 401 or (status == 403 and not self._answers):
            raise ServiceError(f"{place}: the key was refused ({status}); set {self._key_name} to a valid one")
        if status == 402 or (status == 429 and "insufficient_quota" in said):
            raise ServiceError(f"{place}: no credit left ({status}: {said})")
        if (status == 404 or "model_not_found" in said) and not self._answers:
            raise RecipeError(f"{place}: {status} ({said}).{await self._known_models()} Is the address right (…/v1)?")
        if status in RETRIED:
            return Again(f"status {status}", _retry_after(headers), busy=status == 429)
        if structured and self._structured and status in (400, 422) and "response_format" in said.lower():
            self._structured = False
            return Again("the endpoint does not know response_format", wait=0)
        self._refusals += 1
        if not self._answers and self._refusals >= HOPELESS:
            raise ServiceError(f"{place} refuses every request: {status} ({said})")
        return Reply(None, error=f"status {status}: {said}")

    async def _user_turn(self, messages: Messages) -> str:
        """The chat template up to where the user speaks (Magpie, arXiv 2406.08464); llama.cpp's server tells it."""
        if self._turn_start is None:
            root = self.base_url.removesuffix("/v1")
            body = {"messages": [*messages, {"role": "user", "content": SENTINEL}]}
            async with self._connect().post(f"{root}/apply-template", data=msgspec.json.encode(body)) as response:
                text = msgspec.json.decode(await response.read())["prompt"] if response.status == 200 else ""
            self._turn_start, found, rest = text.partition(SENTINEL)
            if not found:
                raise RecipeError(f"prompts.method: magpie needs gguf:, embedded or transformers:, not {self.base_url}")
            self._turn_end = [rest.strip().split("\n")[0]]
        return self._turn_start

    async def _known_models(self) -> str:
        import aiohttp

        try:
            async with self._connect().get(f"{self.base_url}/models") as response:
                known = msgspec.json.decode(await response.read(), type=_Models)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError):
            return ""
        names = [self._plain(model.id) for model in known.data]
        return f"{nearest(self.model, names)} Known there: {', '.join(names[:20])}." if names else ""

    def _plain(self, text: str) -> str:
        """One short line, without the key should the endpoint have repeated it."""
        if self._api_key:
            text = text.replace(self._api_key, "…")
        return " ".join(text.split())[:SHOWN]


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None  # of a bare completion
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def _message(body: bytes) -> str:
    """What an endpoint said went wrong: code and message of its error object, or the beginning of the text."""
    try:
        error = msgspec.json.decode(body)["error"]
        return error if isinstance(error, str) else " ".join(str(error.get(key) or "") for key in ("code", "message"))
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return body[: 4 * SHOWN].decode("utf-8", "replace")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; null where it is missing or neither."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
