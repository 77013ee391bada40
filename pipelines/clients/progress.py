"""What the requests of a run have brought and cost so far: a progress line while they are sent, and sums."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from curate.recipe.models import Model
from curate.terminal import progress
from pipelines.clients.dispatcher import Dispatcher


def spent(dispatcher: Dispatcher) -> list[dict[str, Any]]:
    """Per model: answered requests, their tokens, and their cost in US dollars, null where no price is known."""
    found = []
    for line, (requests, sent, got) in sorted(dispatcher.cache.spent().items()):
        price = dispatcher.budget.prices.get(line)
        counts = {"requests": requests, "input_tokens": sent, "output_tokens": got}
        found.append({"model": Model(model=line).name, **counts, "usd": price.of(sent, got) if price else None})
    return found


@contextmanager
def live(dispatcher: Dispatcher, what: str, total: int | None) -> Iterator[None]:
    """Show a progress line: requests, requests and tokens per second, cost, time remaining."""
    started, before, known = time.monotonic(), dispatcher.tally.tokens, dispatcher.tally.known
    answered, cost = dispatcher.tally.answered, dispatcher.budget.spent["usd"]
    with progress(what, total, "requests") as advance:

        def update() -> None:
            seconds = max(time.monotonic() - started, 1e-3)
            rate = (dispatcher.tally.answered - answered) / seconds
            tokens = (dispatcher.tally.tokens - before) / seconds
            usd = dispatcher.budget.spent["usd"] - cost  # 0 where no price is known
            notes = [f"{rate:,.1f}/s", f"{tokens:,.0f} tokens/s", *([f"${usd:,.4f}"] if usd else [])]
            notes += [f"{dispatcher.tally.known - known:,} known"] if dispatcher.tally.known > known else []
            notes += [f"{dispatcher.tally.failed:,} failed"] if dispatcher.tally.failed else []
            advance(1, " · ".join(notes))

        dispatcher.on_settled = update
        try:
            yield
        finally:
            dispatcher.on_settled = lambda: None
