"""A progress bar on standard error, where that is a terminal and the work takes longer than a moment."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PATIENCE = 1.0  # seconds before a bar appears


class Advance(Protocol):
    """Called with how much is done since the last call."""

    def __call__(self, done: float = 1) -> None:
        """Move the bar on."""


@contextmanager
def progress(what: str, total: float | None, unit: str = "blocks") -> Iterator[Advance]:
    """Show `what` while the block runs; does nothing when standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    done_so_far = TextColumn("{task.completed:,.0f}" + (" of {task.total:,.0f}" if total else "") + f" {unit}")
    columns = (TextColumn("{task.description:<8}"), BarColumn(), done_so_far, TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
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


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show that `what` is being done, where nothing can be counted; silent when standard error is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
