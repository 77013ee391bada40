"""Prices, token estimates, and a budget that is never exceeded."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from math import ceil
from pathlib import Path

import yaml

from curate.errors import CurateError, RecipeError
from curate.files import parse_yaml, read_named
from curate.recipe.models import Budget as Section
from curate.recipe.models import Model
from pipelines.clients.requests import Reply, Request

LOCAL = ("embedded", "gguf:", "transformers:")
# A rough estimate for requests without reported counts: about 4 UTF-8 bytes per token in English (other scripts have
# fewer letters per token but more bytes per letter), and 4 tokens of chat template per message.
BYTES_PER_TOKEN, TOKENS_PER_MESSAGE = 4, 4
WORST_CASE_FACTOR, TEMPLATE_TOKENS = 2, 32  # upper bound of a prompt: a multiple of the estimate, plus the template


class BudgetReached(CurateError):
    """The next request may cost more than remains of the budget. All replies are kept."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """Return the cost in US dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


def tokens_of(messages: Iterable[Mapping[str, str]]) -> int:
    """Estimate the tokens of messages."""
    return sum(len(str(m["content"]).encode()) // BYTES_PER_TOKEN + TOKENS_PER_MESSAGE for m in messages)


def load_prices(path: str | None = None) -> dict[str, Price]:
    """Load the shipped price table, updated with the user's own. Raises RecipeError."""
    shipped = (files("pipelines.clients") / "prices.yaml").read_text("utf-8")
    try:
        tables = [yaml.safe_load(shipped), parse_yaml(read_named(Path(path)).decode()) if path else {}]
        return {
            str(name): Price(float(price["input"]), float(price["output"]))
            for table in tables
            for name, price in (table or {}).items()
        }
    except FileNotFoundError as error:
        raise RecipeError(f"budget.prices: {path} does not exist") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, LookupError, ValueError) as error:
        raise RecipeError(
            f"budget.prices: {path} is not a price table; expected NAME: {{input: 0.15, output: 0.6}}"
        ) from error


def price_of(model: Model, prices: Mapping[str, Price]) -> Price | None:
    """Return the price of a model: 0 for local models, None where no price is known."""
    if model.input_price is not None and model.output_price is not None:
        return Price(model.input_price, model.output_price)
    if model.model.startswith(LOCAL):
        return Price(0, 0)
    name = model.model.partition(":")[2]
    return prices.get(name) or prices.get(re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", name))


class Budget:
    """
    Tokens and dollars of a run: spent, held by requests in flight, and remaining.

    A request is sent only if it fits together with all requests in flight at their maximum cost (prompt plus
    max_tokens), so the budget is never exceeded. Otherwise it waits for the requests in flight, and raises
    BudgetReached if it still does not fit. Requests in flight when the process is killed are unknown to the next start.
    """

    def __init__(self, section: Section | None, models: Iterable[Model]) -> None:
        section = section or Section()
        prices = load_prices(section.prices)
        self.prices = {model.model: price_of(model, prices) for model in models}
        unpriced = [name for name, price in self.prices.items() if price is None]
        if section.usd is not None and unpriced:
            raise RecipeError(
                f"budget.usd: no price is known for {', '.join(unpriced)}; "
                f"give its input_price and output_price, or a table in budget.prices"
            )
        self._limits = {"tokens": section.tokens, "usd": section.usd}
        self.spent = {"tokens": 0.0, "usd": 0.0}
        self._held = {"tokens": 0.0, "usd": 0.0}
        self._in_flight = 0  # a count, because floating-point sums of dollars may not return to exactly 0
        self._changed: asyncio.Event | None = None
        self._underestimated: dict[str, float] = {}  # per model: by which factor prompts exceeded their upper bound

    def cost(self, model: str, input_tokens: float, output_tokens: float) -> float:
        """Return the cost in US dollars; 0 where no price is known."""
        price = self.prices.get(model)
        return price.of(input_tokens, output_tokens) if price else 0.0

    def add(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """Add to the amounts spent."""
        self.spent["tokens"] += input_tokens + output_tokens
        self.spent["usd"] += self.cost(model, input_tokens, output_tokens)

    def counted(self, model: str, request: Request, reply: Reply) -> tuple[int, int]:
        """Return tokens in and out of a reply; counts that the endpoint did not report are estimated."""
        sent, got = reply.input_tokens, reply.output_tokens
        if sent is None:
            sent = tokens_of(request.messages)
        elif sent > (most := self.worst_case(model, request)[0]):
            self._underestimated[model] = self._underestimated.get(model, 1) * sent / most
        return sent, got if got is not None else len((reply.text or "").encode()) // BYTES_PER_TOKEN

    def worst_case(self, model: str, request: Request) -> tuple[int, int]:
        """Return an upper bound of a request's tokens in and out."""
        sent = (WORST_CASE_FACTOR * tokens_of(request.messages) + TEMPLATE_TOKENS) * self._underestimated.get(model, 1)
        return ceil(sent), request.max_tokens

    @asynccontextmanager
    async def hold(self, model: str, request: Request) -> AsyncIterator[None]:
        """Reserve the maximum cost of the request while the block runs."""
        if not any(self._limits.values()):
            yield
            return
        while not self._fits(most := self._most(model, request)):
            if not self._in_flight:
                raise BudgetReached(self._message())
            self._changed = self._changed or asyncio.Event()
            await self._changed.wait()
        self._in_flight += 1
        for unit, amount in most.items():
            self._held[unit] += amount
        try:
            yield
        finally:
            self._in_flight -= 1
            for unit, amount in most.items():
                self._held[unit] = self._held[unit] - amount if self._in_flight else 0.0
            if self._changed is not None:
                self._changed.set()
                self._changed = None

    def _most(self, model: str, request: Request) -> dict[str, float]:
        sent, got = self.worst_case(model, request)
        return {"tokens": sent + got, "usd": self.cost(model, sent, got)}

    def _fits(self, most: Mapping[str, float]) -> bool:
        return all(
            limit is None or not most[unit] or self.spent[unit] + self._held[unit] + most[unit] <= limit
            for unit, limit in self._limits.items()
        )

    def _message(self) -> str:
        spent = []
        if (limit := self._limits["tokens"]) is not None:
            spent.append(f"{self.spent['tokens']:,.0f} of {limit:,.0f} tokens")
        if (limit := self._limits["usd"]) is not None:
            spent.append(f"${self.spent['usd']:,.4f} of ${limit:,.2f}")
        return (
            f"stopped at the budget: {' and '.join(spent)} spent, and the next request may cost more than remains. "
            f"All replies are kept: raise budget, or lower source.limit, and run the same command again"
        )
