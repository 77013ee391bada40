"""Stored replies are reused, concurrent equal requests are sent once, and a fatal error stops all requests."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from curate.errors import ServiceError
from curate.recipe.models import Budget as Section
from curate.recipe.models import Model
from pipelines.clients.budget import Budget, BudgetReached
from pipelines.clients.cache import RequestCache
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.requests import BudgetHold, Reply, Request


def ask(text: str, sample: int = 0) -> Request:
    return Request([{"role": "user", "content": text}], {"max_tokens": 10}, sample)


class Fake:
    """A model that answers after a delay and counts requests."""

    def __init__(self, seconds: float = 0.001) -> None:
        self.asked: Counter[str] = Counter()
        self._seconds = seconds

    async def send(self, request: Request, hold: BudgetHold) -> Reply:
        async with hold(request) as lost:
            text = request.messages[0]["content"]
            self.asked[text] += 1
            await asyncio.sleep(self._seconds)
            if text == "lost":
                lost(5, None)
        if text == "refused":
            raise ServiceError("the key was refused")
        if text == "fails":
            return Reply(None, error="status 400")
        if text == "cut off":
            return Reply(None, "length", 3, 10, error="cut off")
        return Reply(text.upper(), "stop", 4, 2)


@pytest.fixture
def cache() -> Iterator[RequestCache]:
    with RequestCache(":memory:") as opened:
        yield opened


def dispatcher_of(cache: RequestCache, section: Section | None = None) -> Dispatcher:
    return Dispatcher(cache, Budget(section, [Model(model="openai:m", input_price=1, output_price=1)]))


def together(*asked: Coroutine[Any, Any, Reply]) -> list[Any]:
    async def play() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)

    return asyncio.run(play())


def test_concurrent_equal_requests_are_sent_once(cache: RequestCache) -> None:
    dispatcher, model = dispatcher_of(cache), Fake()
    replies = together(*(dispatcher.ask("openai:m", ask("a"), model.send) for _ in range(20)))
    assert {reply.text for reply in replies} == {"A"}
    assert model.asked == {"a": 1}
    assert (dispatcher.tally.answered, dispatcher.tally.known) == (1, 19)
    assert dispatcher.budget.spent["tokens"] == 6


def test_stored_replies_are_not_requested_again(cache: RequestCache) -> None:
    first, second = Fake(), Fake()
    together(dispatcher_of(cache).ask("openai:m", ask("a"), first.send))
    later = dispatcher_of(cache)
    assert later.budget.spent == {"tokens": 6.0, "usd": 6e-6}  # from the earlier start
    replies = together(
        later.ask("openai:m", ask("a"), second.send),
        later.ask("openai:m", ask("a", 1), second.send),  # another sample
        later.ask("openai:n", ask("a"), second.send),  # another model
    )
    assert [reply.text for reply in replies] == ["A", "A", "A"]
    assert second.asked == {"a": 2}
    assert (later.tally.answered, later.tally.known, later.tally.done) == (2, 1, 3)


def test_a_failure_is_shared_by_equal_requests_and_retried_later(cache: RequestCache) -> None:
    dispatcher, model = dispatcher_of(cache), Fake()
    replies = together(*(dispatcher.ask("openai:m", ask("fails"), model.send) for _ in range(3)))
    assert [reply.error for reply in replies] == ["status 400"] * 3
    assert (dispatcher.tally.failed, dispatcher.tally.known) == (3, 0)
    together(dispatcher.ask("openai:m", ask("fails"), model.send))
    assert model.asked == {"fails": 2}
    assert dispatcher.budget.spent["tokens"] == 0


def test_paid_attempts_without_a_reply_count_in_every_start(cache: RequestCache) -> None:
    dispatcher = dispatcher_of(cache)
    together(
        dispatcher.ask("openai:m", ask("lost"), Fake().send), dispatcher.ask("openai:m", ask("cut off"), Fake().send)
    )
    most = dispatcher.budget.worst_case("openai:m", ask("lost"))[1]
    assert most == 10
    assert dispatcher.budget.spent["tokens"] == (5 + most) + (3 + 10) + (4 + 2)
    assert dispatcher_of(cache).budget.spent == dispatcher.budget.spent


def test_a_fatal_error_cancels_waiting_requests(cache: RequestCache) -> None:
    """One request waits between two attempts, one for its turn; the one in flight finishes and is stored."""
    dispatcher, model = dispatcher_of(cache), Fake(0.2)

    async def sleeps(request: Request, hold: BudgetHold) -> Reply:
        await asyncio.sleep(30)
        return await model.send(request, hold)

    started = time.monotonic()
    replies = together(
        dispatcher.ask("openai:m", ask("slow"), sleeps),
        dispatcher.ask("openai:m", ask("slow"), sleeps),  # an equal request
        dispatcher.ask("openai:m", ask("sent"), Fake(0.4).send),
        dispatcher.ask("openai:m", ask("refused"), model.send),
    )
    assert time.monotonic() - started < 1
    assert [type(reply) for reply in replies] == [ServiceError, ServiceError, Reply, ServiceError]
    assert cache.get("openai:m", ask("sent")) == replies[2]
    later = together(
        dispatcher.ask("openai:m", ask("new"), model.send), dispatcher.ask("openai:m", ask("sent"), model.send)
    )
    assert isinstance(later[0], ServiceError)
    assert later[1] == replies[2]  # stored replies are still returned
    assert model.asked == {"refused": 1}


def test_the_same_error_a_thousand_times_does_not_grow(cache: RequestCache) -> None:
    dispatcher = dispatcher_of(cache)
    together(dispatcher.ask("openai:m", ask("refused"), Fake().send))
    errors = together(*(dispatcher.ask("openai:m", ask("late", n), Fake().send) for n in range(500)))
    depth, trace = 0, errors[-1].__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 10


def test_the_budget_stops_all_and_keeps_replies(cache: RequestCache) -> None:
    dispatcher = dispatcher_of(cache, Section(tokens=200))
    replies = together(*(dispatcher.ask("openai:m", ask(f"a{n}"), Fake().send) for n in range(100)))
    done = [reply for reply in replies if isinstance(reply, Reply)]
    assert all(isinstance(reply, Reply | BudgetReached) for reply in replies)
    assert 10 < len(done) < 34
    assert dispatcher.budget.spent["tokens"] == 6 * len(done) <= 200
    assert cache.spent()["openai:m"][0] == len(done)
    more = dispatcher_of(cache, Section(tokens=2_000))
    replies = together(*(more.ask("openai:m", ask(f"a{n}"), Fake().send) for n in range(100)))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert (more.tally.known, more.tally.answered) == (len(done), 100 - len(done))


def test_an_interrupt_cancels_requests_but_not_the_loop(cache: RequestCache) -> None:
    """The interrupt comes from another thread; raised in the loop itself it would stop the loop."""
    dispatcher, model = dispatcher_of(cache), Fake(30)

    async def play() -> list[Any]:
        tasks = [asyncio.create_task(dispatcher.ask("openai:m", ask(f"a{n}"), model.send)) for n in range(50)]
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            for task in tasks:
                loop.call_soon_threadsafe(task.cancel)

        dispatcher.on_abort.append(cancel)
        await asyncio.sleep(0.01)
        threading.Thread(target=dispatcher.abort).start()
        await asyncio.sleep(0.05)
        late = asyncio.create_task(dispatcher.ask("openai:m", ask("late"), model.send))
        return await asyncio.wait_for(asyncio.gather(*tasks, late, return_exceptions=True), 5)

    started = time.monotonic()
    replies = asyncio.run(play())
    assert time.monotonic() - started < 2
    assert {type(reply) for reply in replies} == {asyncio.CancelledError}
    assert model.asked.total() == 50
    assert cache.lost()["openai:m"][0] == 50  # sent, and perhaps charged for


def followed(request: Request, **by: Request) -> Request:
    """The request, and those that follow each reply to it."""
    return replace(request, then=lambda reply: by.get(reply.text or "none"))


def test_the_reply_to_the_request_that_follows_counts(cache: RequestCache) -> None:
    model = Fake()
    for _ in range(2):  # the second time everything is known
        (reply,) = together(
            dispatcher_of(cache).ask("openai:m", followed(ask("a"), A=followed(ask("b"), B=ask("c"))), model.send)
        )
        assert reply.text == "C"
    assert model.asked == {"a": 1, "b": 1, "c": 1}


def test_an_optional_request_that_brings_nothing_leaves_the_reply_before_it(cache: RequestCache) -> None:
    dispatcher, model = dispatcher_of(cache), Fake()
    asked = [followed(ask("a"), A=replace(ask("fails"), optional=optional)) for optional in (True, False)]
    replies = together(*(dispatcher.ask("openai:m", request, model.send) for request in asked))
    assert [(reply.text, reply.error) for reply in replies] == [("A", None), (None, "status 400")]


def test_an_optional_request_beyond_the_budget_is_not_sent_and_stops_nothing(cache: RequestCache) -> None:
    dispatcher, model = dispatcher_of(cache, Section(tokens=2_000)), Fake()
    longer = ask("a").with_room(5_000)
    (reply,) = together(dispatcher.ask("openai:m", followed(ask("a"), A=longer), model.send))
    assert (reply.text, dispatcher.stopped, longer.optional, longer.max_tokens) == ("A", None, True, 5_000)
    (reply,) = together(dispatcher.ask("openai:m", ask("b"), model.send))
    assert (reply.text, model.asked) == ("B", {"a": 1, "b": 1})


def test_an_error_about_a_reply_stops_everything(cache: RequestCache) -> None:
    def refuse(_: Reply) -> Request | None:
        raise ServiceError("enough")

    dispatcher, model = dispatcher_of(cache), Fake()
    replies = together(dispatcher.ask("openai:m", replace(ask("a"), then=refuse), model.send))
    replies += together(dispatcher.ask("openai:m", ask("b"), model.send))
    assert [str(reply) for reply in replies] == ["enough", "enough"]
    assert (model.asked, cache.get("openai:m", ask("a"))) == ({"a": 1}, Reply("A", "stop", 4, 2))


def test_a_final_reply_without_text_is_stored(cache: RequestCache) -> None:
    dispatcher, model = dispatcher_of(cache), Fake()
    replies = [*(together(dispatcher.ask("openai:m", ask("cut off"), model.send))[0] for _ in range(2))]
    assert replies == [Reply(None, "length", 3, 10, "cut off")] * 2
    assert (model.asked, dispatcher.tally.answered, dispatcher.tally.known) == ({"cut off": 1}, 1, 1)


def test_every_reply_passes_through_the_models_own_reading(cache: RequestCache) -> None:
    def heard(reply: Reply) -> Reply:
        return replace(reply, text=f"{reply.text}!")

    request = replace(ask("a"), then=lambda reply: ask("b") if reply.text == "A!" else None)
    assert together(dispatcher_of(cache).ask("openai:m", request, Fake().send, heard))[0].text == "B!"
    assert cache.get("openai:m", ask("b")) == Reply("B", "stop", 4, 2)  # as the model gave it
