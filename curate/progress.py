"""A progress bar on standard error, where that is a terminal and the work takes longer than a moment."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 1.0  # seconds before a bar appears


class Advance(Protocol):
    """Called with how much is done since the last call, and what else there is to say."""

    def __call__(self, done: float = 1, note: str = "") -> None:
        """Move the bar on."""


def is_watched() -> bool:
    """Whether a person sees what is shown here: standard error is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def progress(what: str, total: float | None, unit: str = "blocks") -> Iterator[Advance]:
    """Show `what` while the block runs; does nothing when standard error is not a terminal."""
    if not is_watched():
        yield lambda done=1, note="": None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    done_so_far = TextColumn("{task.completed:,.0f}" + (" of {task.total:,.0f}" if total else "") + f" {unit}")
    left = (TextColumn("· left"), TimeRemainingColumn()) if total else ()
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), done_so_far, TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), *left,
    )  # fmt: skip
    bar = Progress(*columns, console=_console(), transient=True)
    task = bar.add_task(what, total=total, note="")
    started = time.monotonic()
    live = False

    def advance(done: float = 1, note: str = "") -> None:
        nonlocal live
        bar.update(task, advance=done, note=note)
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
    if not is_watched():
        yield
        return
    with _console().status(what):
        yield


@cache
def _console() -> "Console":
    """One for all that is shown: it puts a bar inside something that is busy under it, not over it."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """One line to whoever watches; silent when standard error is not a terminal."""
    if is_watched():
        print(text, file=sys.stderr)  # noqa: T201
