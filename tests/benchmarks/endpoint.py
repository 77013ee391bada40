"""
The endpoint that benchmarks send requests to: instant, or with a delay and a capacity that it tells nobody.

It runs in a process of its own, on loopback. Requests beyond the capacity get a 429 at once; the others take between
half and one and a half times the delay. A judge's reply has the form that the tool of its name expects.
"""

import asyncio
import json
import multiprocessing
import random
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aiohttp import web

REFUSAL = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
USAGE = {"prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60}
VERDICTS = {  # by the name of the judge
    "judge-prefcurate": '{{"reason": "as asked", "ratings": {{"overall": {grade}}}}}',
    "judge-distilabel": "#### Output for Text 1\nRating: {grade}\nRationale: as asked",
    "judge-data-designer": '```json\n{{"Overall": {{"reasoning": "as asked", "score": {grade}}}}}\n```',
}


class Counts(NamedTuple):
    """What the endpoint did since it was asked before."""

    answered: int = 0
    refused: int = 0
    peak: int = 0  # requests at once, without refused ones; 0 if answers take no time


def counts(root: str) -> Counts:
    """Return the counts since the last call."""
    with urllib.request.urlopen(f"{root}/counts") as response:
        return Counts(*json.load(response))


@contextmanager
def running(port: int, capacity: int | None = None, delay: float = 0) -> Iterator[str]:
    """Keep the endpoint running; yields its address."""
    arguments = (port, capacity, delay)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    process.start()
    root = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            time.sleep(0.1)
            with suppress(OSError):
                counts(root)
                break
        if not process.is_alive():  # another program may have the port
            sys.exit("the server did not start; try another --port")
        yield root
    finally:
        process.terminate()
        process.join()


def serve(port: int, capacity: int | None, delay: float) -> None:
    """Answer up to the capacity, refuse beyond it, and count both."""
    from aiohttp import web  # the environment of the other tools does not have it

    active = 0
    seen = Counts()
    draws = random.Random(0)

    async def chat(request: "web.Request") -> "web.Response":
        nonlocal active, seen
        if capacity is not None and active >= capacity:
            seen = seen._replace(refused=seen.refused + 1)
            return web.json_response(REFUSAL, status=429)
        active += 1
        try:
            reply = completion(await request.json())
            if delay:
                seen = seen._replace(peak=max(seen.peak, active))
                await asyncio.sleep(delay * draws.uniform(0.5, 1.5))
        finally:
            active -= 1
        seen = seen._replace(answered=seen.answered + 1)
        return web.json_response(reply)

    async def counted(_: "web.Request") -> "web.Response":
        nonlocal seen
        before, seen = seen, Counts()
        return web.json_response(before)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/counts", counted)
    asyncio.set_event_loop(asyncio.new_event_loop())
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, handle_signals=False, backlog=1024)


def completion(body: dict[str, object]) -> dict[str, object]:
    """Build the reply: an answer that names its model, or a verdict that prefers the first model's."""
    model, messages = str(body["model"]), body["messages"]
    assert isinstance(messages, list)
    asked = messages[-1]["content"]
    if isinstance(asked, list):  # parts, as Data Designer sends them
        asked = "".join(part["text"] for part in asked)
    text = f"An answer of {model} to {asked[:40]!r}."
    if model in VERDICTS:
        text = VERDICTS[model].format(grade=5 if "writer-1" in asked else 3)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
    return {**head, "choices": [choice], "usage": USAGE}
