"""Prices, and a budget that concurrent requests never exceed."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import RecipeError
from curate.recipe.models import Budget as Section
from curate.recipe.models import Model
from pipelines.clients.budget import Budget, BudgetReached, Price, load_prices, price_of, tokens_of
from pipelines.clients.requests import Reply, Request

DEAR = Model(model="openai:m", input_price=10, output_price=30)
LOCAL = Model(model="embedded")


def request(words: int = 1, max_tokens: int | None = 100) -> Request:
    params = {} if max_tokens is None else {"max_tokens": max_tokens}
    return Request([{"role": "user", "content": "word " * words}], params)


@pytest.mark.parametrize(
    ("line", "price"),
    [
        ("openai:gpt-4o-mini", Price(0.15, 0.60)),
        ("openai:gpt-4o-mini-2024-07-18", Price(0.15, 0.60)),
        ("openai:nobody-knows", None),
        ("embedded", Price(0, 0)),
        ("gguf:/models/gpt-4o.gguf", Price(0, 0)),
        ("transformers:gpt-4o", Price(0, 0)),
    ],
)
def test_prices_by_name(line: str, price: Price | None) -> None:
    assert price_of(Model(model=line), load_prices()) == price


def test_a_models_own_price_comes_first_then_the_users_table(tmp_path: Path) -> None:
    table = tmp_path / "prices.yaml"
    table.write_text("gpt-4o: {input: 1, output: 2}\nmine: {input: 3, output: 4}\n")
    prices = load_prices(str(table))
    assert price_of(Model(model="openai:gpt-4o"), prices) == Price(1, 2)
    assert price_of(Model(model="openai:mine"), prices) == Price(3, 4)
    assert price_of(Model(model="openai:gpt-4o", input_price=5, output_price=6), prices) == Price(5, 6)
    assert Price(5, 6).of(2_000_000, 500_000) == 13


@pytest.mark.parametrize("text", ["gpt: 3", "gpt: {input: 1}", "[1, 2]", "gpt: {input: dear, output: 2}", "a: {b: [}"])
def test_a_bad_price_table_is_a_one_line_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"is not a price table; expected NAME: \{input: 0\.15, output: 0\.6\}"):
        load_prices(str(tmp_path / "prices.yaml"))


def test_an_unknown_price_fails_before_any_request() -> None:
    with pytest.raises(RecipeError, match="no price is known for openai:x; give its input_price and output_price"):
        Budget(Section(usd=1), [Model(model="openai:x"), LOCAL])
    with pytest.raises(RecipeError, match=r"nowhere\.yaml does not exist"):
        Budget(Section(prices="nowhere.yaml"), [])


def test_without_a_known_price_requests_cost_nothing() -> None:
    budget = Budget(None, [Model(model="openai:nobody-knows")])
    budget.add("openai:nobody-knows", 3, 4)
    assert budget.spent == {"tokens": 7, "usd": 0}


def test_tokens_are_estimated_by_bytes() -> None:
    assert tokens_of([{"role": "user", "content": "abcd" * 10}, {"role": "system", "content": ""}]) == 18
    assert tokens_of([{"role": "user", "content": "日本語"}]) == 6


def test_the_upper_bound_of_a_prompt_is_twice_the_estimate_and_a_template() -> None:
    budget = Budget(None, [DEAR])
    assert budget.worst_case("openai:m", request(4)) == (2 * 9 + 32, 100)  # 20 bytes, one message
    assert budget.worst_case("openai:m", request(4, None)) == (50, 0)


def test_missing_token_counts_are_estimated() -> None:
    budget = Budget(None, [DEAR])
    assert budget.counted("openai:m", request(), Reply("x" * 40, "stop", 7, 5)) == (7, 5)
    assert budget.counted("openai:m", request(), Reply("x" * 40)) == (5, 10)


def test_counts_above_the_upper_bound_raise_it() -> None:
    budget = Budget(Section(tokens=10_000), [DEAR])
    most, _ = budget.worst_case("openai:m", request())
    budget.counted("openai:m", request(), Reply("x", "stop", 3 * most, 5))
    assert budget.worst_case("openai:m", request()) == (3 * most, 100)
    assert budget.worst_case("openai:other", request()) == (most, 100)


def spend(budget: Budget, wanted: list[tuple[Request, int, int]], seed: int = 0) -> int:
    """Send all at once, each with the given cost in tokens; return how many were admitted."""
    draws = random.Random(seed)

    async def one(asked: Request, sent: int, got: int) -> bool:
        async with budget.hold("openai:m", asked):
            await asyncio.sleep(draws.choice((0, 0, 0.0005)))
        budget.add("openai:m", sent, got)
        return True

    async def play() -> int:
        done = await asyncio.wait_for(asyncio.gather(*(one(*w) for w in wanted), return_exceptions=True), 10)
        assert all(d is True or isinstance(d, BudgetReached) for d in done), done
        return sum(d is True for d in done)

    return asyncio.run(play())


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    limit=st.integers(1, 3_000),
    unit=st.sampled_from(["tokens", "usd"]),
    costs=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
    seed=st.integers(0, 100),
)
def test_a_budget_never_overruns_or_blocks(
    limit: int, unit: str, costs: list[tuple[int, float, float]], seed: int
) -> None:
    budget = Budget(Section(tokens=limit) if unit == "tokens" else Section(usd=limit / 1e5), [DEAR])
    wanted = []
    for words, share_in, share_out in costs:
        asked = request(words)
        most_in, most_out = budget.worst_case("openai:m", asked)
        wanted.append((asked, int(most_in * share_in), int(most_out * share_out)))
    through = spend(budget, wanted, seed)
    assert budget.spent[unit] <= (limit if unit == "tokens" else limit / 1e5)
    if through < len(wanted):  # those that were refused did not fit
        largest = max(budget._most("openai:m", asked)[unit] for asked, _, _ in wanted)
        assert budget.spent[unit] + largest > (limit if unit == "tokens" else limit / 1e5)


def test_rounding_errors_leave_no_request_waiting() -> None:
    """0.1 + 0.2 - 0.1 - 0.2 is 2.8e-17, although nothing is in flight."""
    dear = Model(model="openai:m", input_price=0, output_price=1e6)
    budget = Budget(Section(usd=1.05), [dear])

    async def play() -> None:
        first, second = budget.hold("openai:m", request(1, 1)), budget.hold("openai:m", request(1, 1))
        budget._held["usd"] = 0.0
        async with AsyncExitStack() as stack:
            budget.prices["openai:m"] = Price(0, 1e5)
            await stack.enter_async_context(first)
            budget.prices["openai:m"] = Price(0, 2e5)
            await stack.enter_async_context(second)
        budget.prices["openai:m"] = Price(0, 2e6)
        async with budget.hold("openai:m", request(1, 1)):
            pass

    with pytest.raises(BudgetReached):
        asyncio.run(asyncio.wait_for(play(), 5))


def test_without_a_limit_all_are_sent() -> None:
    assert spend(Budget(None, [DEAR]), [(request(), 10**9, 10**9)] * 50) == 50


def test_a_free_model_continues_after_the_budget_is_spent() -> None:
    budget = Budget(Section(usd=1), [DEAR, LOCAL])
    budget.spent["usd"] = 1.2

    async def play() -> None:
        async with budget.hold("embedded", request()):
            pass

    asyncio.run(play())


def test_the_message_of_a_spent_budget() -> None:
    budget = Budget(Section(tokens=5_000, usd=0.5), [DEAR])
    budget.add("openai:m", 4_000, 950)
    with pytest.raises(BudgetReached, match=r"4,950 of 5,000 tokens and \$0.0685 of \$0.50 spent.*raise budget"):
        asyncio.run(budget.hold("openai:m", request()).__aenter__())
    assert BudgetReached.exit_code == 1


@pytest.mark.parametrize(("tokens", "sent"), [(142, 1), (141, 0)])  # 42 of the prompt at most, and 100 of the answer
def test_a_request_may_use_up_the_budget(tokens: int, sent: int) -> None:
    assert spend(Budget(Section(tokens=tokens), [DEAR]), [(request(), 42, 100)]) == sent
