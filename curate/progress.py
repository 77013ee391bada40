"""A progress bar on standard error, where that is a terminal and the work takes longer than a moment."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PATIENCE = 1.0  # seconds before a bar appears


class Advance(Protocol):
    """Called with how much of the total is done since the last call."""

    def __call__(self, done: float = 1) -> None:
        """Move the bar on."""


@contextmanager
def progress(what: str, total: float | None) -> Iterator[Advance]:
    """Show `what` while the block runs; does nothing when standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    started = time.monotonic()
    live = False

    def advance(done: float = 1) -> None:
        nonlocal live
        bar.advance(task, done)
        if not live and time.monotonic() - started > PATIENCE:
            bar.start()
            live = True

    try:
        yield advance
    finally:
        if live:
            bar.stop()
