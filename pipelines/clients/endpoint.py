"""One OpenAI-compatible endpoint over aiohttp: failures of one request are distinguished from fatal ones."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from curate import limits
from curate.errors import RecipeError, ServiceError, nearest
from curate.terminal import tell
from pipelines.clients import context
from pipelines.clients.attempts import Attempts
from pipelines.clients.completions import (
    RETRIED,
    Retry,
    Usage,
    model_names,
    read,
    rendered_prompt,
    retry_after,
)
from pipelines.clients.faults import Fault, fault_of
from pipelines.clients.form import MAX_CHANGES, Form, form_of
from pipelines.clients.limits import FIRST_DELAY, LONGEST_DELAY, Host, Limiter, Slot, backoff
from pipelines.clients.requests import BudgetHold, Messages, Reply, Request
from pipelines.clients.transport import Response, TooLargeError, Transport

OK = 200
NOT_CONTINUED = ("model", "messages", "continue_user")  # fields of a request to continue a user's turn

MESSAGE_CHARS = 200  # of an endpoint's error that go into a message
SENTINEL = "¶user¶"  # placeholder for the user's text
MAX_FIRST_REFUSALS = 10  # consecutive refusals before any answer, after which the endpoint itself is suspected
MAX_RATE_LIMITED = 30  # 429s to one request while others are answered: that request may be too large by itself
MAX_LAST_TRIES = 2  # of a request whose attempts were all made while nothing at all was answered
NOTICE_AFTER = 5.0  # seconds without an answer after which a message is logged
PROBE: Messages = ({"role": "user", "content": "Hi"},)
PROBE_INTERVAL = 10.0  # seconds between two probes, at least


class Endpoint:
    """
    Chat completions of one model at one address.

    `ask` returns the reply, or a reply with an error for a request that cannot be answered. It raises for failures that
    affect every request: ServiceError for a refused key, missing credit, or an endpoint that does not answer for
    `patience` seconds; RecipeError for an unknown model.
    """

    def __init__(  # noqa: PLR0913 - settings of an endpoint
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        key_name: str = "api key",
        concurrency: int | None = None,
        host: Host | None = None,
        timeout: float = 180,
        retries: int = 6,
        patience: float = 300,
        first_delay: float = FIRST_DELAY,
        max_bytes: int = limits.REPLY_BYTES,
    ) -> None:
        self.model, self.base_url = model, base_url.rstrip("/")
        self._api_key, self._key_name = (api_key or "").strip(), key_name
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise RecipeError(f"{key_name} is not a valid key: it contains a line break or a non-ASCII character")
        self._transport = Transport(self.base_url, api_key=self._api_key, timeout=timeout, max_bytes=max_bytes)
        self._timeout, self._retries, self._patience = timeout, retries, patience
        self._first_delay = first_delay
        self._limiter = Limiter(concurrency, host)
        self._last_answer = 0.0  # by the loop's clock
        self._answers = 0
        self._refused_first = 0  # requests that were refused before the first answer
        self._probe = asyncio.Lock()
        self._last_probe = float("-inf")
        self._noticed = self._warned = False
        self._turn_start: str | None = None  # the chat template before and after the user's text
        self._turn_end: list[str] = []
        self._form = form_of(model, self.base_url)

    @property
    def _place(self) -> str:
        return f"{self.model} at {self.base_url}"

    async def ask(self, request: Request, hold: BudgetHold) -> Reply:
        """Return the reply to one request, with retries."""
        clock = asyncio.get_running_loop().time
        attempts = Attempts(self._answers, clock())
        while True:
            outcome, slot = await self._once(request, hold)
            if isinstance(outcome, Reply):
                await self._check_refusals(outcome, request, hold)
                return outcome
            before = attempts.last_failure
            attempts.add(outcome, self._answers, clock())
            if await self._is_at_fault(attempts, before, request, hold):
                return attempts.given_up()
            if attempts.tries > self._retries and outcome.foreign and not self._answers:
                raise ServiceError(f"{self._place}: {outcome.why}. Is the address right (…/v1)?")
            since = max(self._last_answer, attempts.first_failure)
            left = since + self._patience - clock()
            self._log_retries(self._patience - left, outcome)
            if left <= (asked := outcome.wait or 0):
                if asked <= LONGEST_DELAY and await self._is_alive(request, hold, since, every=0):
                    return attempts.given_up()
                raise ServiceError(self._too_long(self._patience - left, outcome))
            if outcome.busy:
                self._limiter.refused(slot.sent, outcome.wait)
            else:
                wait = backoff(attempts.tries, self._first_delay) if outcome.wait is None else outcome.wait
                await asyncio.sleep(min(wait, left))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _once(self, request: Request, hold: BudgetHold) -> tuple[Reply | Retry, Slot]:
        """Return the outcome of one attempt, and the slot in which it was sent."""
        async with self._limiter(first=request.follows) as slot, hold(request) as report_lost_cost:
            outcome = await self._try(request, slot)
            if isinstance(outcome, Retry) and outcome.usage is not None:
                report_lost_cost(outcome.usage.prompt_tokens, outcome.usage.completion_tokens)
        return outcome, slot

    async def _is_at_fault(self, attempts: "Attempts", before: float, request: Request, hold: BudgetHold) -> bool:
        """Return whether this request, rather than the endpoint, appears to be the problem."""
        if attempts.own > self._retries or attempts.refusals > MAX_RATE_LIMITED:
            return True
        if attempts.second:
            return attempts.tries > min(self._retries, MAX_LAST_TRIES)
        if attempts.tries > self._retries and await self._is_alive(request, hold, before):
            # It answers now, but may have been down during all attempts: allow a second round.
            attempts.second, attempts.tries = True, 0
        return False

    async def _is_alive(self, request: Request, hold: BudgetHold, since: float, every: float = PROBE_INTERVAL) -> bool:
        """
        Return whether the endpoint answered anything since then, or answers a minimal request with the same parameters
        now: then the request is at fault, not the endpoint. Concurrent callers share one probe.
        """
        async with self._probe:
            now = asyncio.get_running_loop().time()
            if self._last_answer <= since and now - self._last_probe > min(every, self._patience / 10):
                self._last_probe = now
                params = {key: value for key, value in request.params.items() if key != "continue_user"}
                probe = Request(PROBE, params | ({"max_tokens": 1} if "max_tokens" in params else {}))
                async with self._limiter() as slot, hold(probe) as report_lost_cost:
                    outcome = await self._try(probe, slot)
                    if isinstance(outcome, Reply):
                        report_lost_cost(outcome.input_tokens, outcome.output_tokens)
        return self._last_answer > since

    async def _check_refusals(self, reply: Reply, request: Request, hold: BudgetHold) -> None:
        """Raise ServiceError if the endpoint has refused every request so far, including a minimal one."""
        if self._answers:
            return
        self._refused_first += 1
        if self._refused_first >= MAX_FIRST_REFUSALS and not await self._is_alive(request, hold, 0.0):
            raise ServiceError(f"{self._place} refuses every request: {reply.error}")

    def _log_retries(self, silent: float, outcome: Retry) -> None:
        if silent > NOTICE_AFTER and not self._noticed:
            self._noticed = True
            tell(f"{self._place}: {outcome.why}; retrying for {self._patience:g} s")

    def _too_long(self, silent: float, outcome: Retry) -> str:
        asked = f", and asks to wait {outcome.wait:,.0f} s" if outcome.wait and outcome.wait > 1 else ""
        return (
            f"{self._place}: no answer for {silent:.0f} s ({outcome.why}{asked}). "
            f"All replies are kept; run the same command again once the endpoint answers"
        )

    async def _try(self, request: Request, slot: Slot) -> Reply | Retry:
        """Make one attempt; where the endpoint refuses a field, in the form that it wants."""
        form, changes = self._form, 0
        while True:
            body = form.body(self.model, request.messages, request.params)
            response = await self._sent(request, body)
            if isinstance(response, Retry):
                return response
            outcome = self._read(request, response, slot)
            if not isinstance(outcome, Fault):
                self._learn(form)
                return outcome
            changed = None if request.params.get("continue_user") else form.after(outcome, body)
            if changed is None or changes == MAX_CHANGES:
                return await self._refused(outcome, response.headers)
            form, changes = changed, changes + 1

    async def _sent(self, request: Request, body: dict[str, Any]) -> Response | Retry:
        """Send one body; failures of the connection are attempts to be repeated."""
        import aiohttp

        try:
            if request.params.get("continue_user"):
                body = {name: value for name, value in body.items() if name not in NOT_CONTINUED}
                body |= {"prompt": await self._user_turn(request.messages), "stop": self._turn_end}
                return await self._transport.post(f"{self.base_url}/completions", body)
            return await self._transport.post(f"{self.base_url}/chat/completions", body)
        except TooLargeError as error:
            return Retry(str(error), Usage())
        except TimeoutError:
            return Retry(f"no answer within {self._timeout:g} s", Usage())
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise RecipeError(
                f"{self._place}: {self.base_url} is not a valid address; expected http://HOST/v1"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            why = self._one_line(str(error) or type(error).__name__)
            if isinstance(error, aiohttp.ClientSSLError) and not self._answers:
                raise ServiceError(f"{self._place}: no secure connection ({why})") from error
            # If an open connection broke, the request may have been processed and charged for.
            return Retry(why, None if isinstance(error, aiohttp.ClientConnectorError) else Usage())

    def _read(self, request: Request, response: Response, slot: Slot) -> Reply | Retry | Fault:
        if response.status != OK:
            return fault_of(response.status, response.body)
        outcome = read(response.body, request.skip)
        if isinstance(outcome, Retry):
            return replace(outcome, why=self._one_line(outcome.why))
        if isinstance(outcome, Reply):
            outcome = replace(outcome, error=outcome.error and self._one_line(outcome.error))
            self._last_answer = asyncio.get_running_loop().time()
            self._answers += 1
            self._limiter.answered(slot)
            if not self._warned and (wrong := context.problem(request, outcome)):
                self._warned = True
                tell(f"{self._place}: {wrong}")
        return outcome

    def _learn(self, form: Form) -> None:
        """Keep the form in which the model took a request, and say what is different about it."""
        learned = self._form.joined(form)
        if changes := learned.changes(self._form):
            tell(f"{self._place} refuses what is usual; it is asked {changes}")
            self._form = learned

    async def _refused(self, fault: Fault, headers: Mapping[str, str]) -> Reply | Retry:
        status, message = fault.status, self._one_line(str(fault))
        if status == 401 or (status == 403 and not self._answers):
            why = f"403: {message}" if status == 403 else "401"  # a message about a key may contain part of it
            raise ServiceError(f"{self._place}: the key was refused ({why}); set {self._key_name} to a valid one")
        if status == 402 or (status == 429 and "insufficient_quota" in (fault.code, *fault.message.split())):
            raise ServiceError(f"{self._place}: no credit left ({status}: {message})")
        if (status == 404 or fault.code == "model_not_found") and not self._answers:
            known = await self._known_models()
            raise RecipeError(f"{self._place}: {status} ({message}).{known} Is the address right (…/v1)?")
        if fault.is_filter:
            return Reply(None, "content_filter", 0, 0, f"filtered by the endpoint ({message})")
        if status in RETRIED or status >= 500:
            return Retry(f"status {status}", wait=retry_after(headers), busy=status == 429, counts=status != 429)
        return Reply(None, error=f"status {status}: {message}")

    async def _user_turn(self, messages: Messages) -> str:
        """Return the chat template up to the user's text (Magpie, arXiv 2406.08464), as llama.cpp renders it."""
        if self._turn_start is None:
            body = {"messages": [*messages, {"role": "user", "content": SENTINEL}]}
            response = await self._transport.post(f"{self.base_url.removesuffix('/v1')}/apply-template", body)
            text = rendered_prompt(response.body) if response.status == OK else ""
            start, found, rest = text.partition(SENTINEL)
            if not found:
                raise RecipeError(f"prompts.method: magpie needs gguf:, embedded or transformers:, not {self.base_url}")
            self._turn_start, self._turn_end = start, [rest.strip().split("\n")[0]]
        return self._turn_start

    async def _known_models(self) -> str:
        import aiohttp

        try:
            body = await self._transport.get(f"{self.base_url}/models")
        except (aiohttp.ClientError, OSError, TimeoutError, TooLargeError):
            return ""
        names = [self._one_line(name) for name in model_names(body)]
        return f"{nearest(self.model, names)} Known there: {', '.join(names[:20])}." if names else ""

    def _one_line(self, text: str) -> str:
        """Shorten to one line, with the key removed in case the endpoint echoed it."""
        if self._api_key:
            text = text.replace(self._api_key, "…")
        return " ".join(text.split())[:MESSAGE_CHARS]
