"""A progress bar on standard error, if that is a terminal and the work takes more than a second."""

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
    """Called with the progress since the last call, and a note to display."""

    def __call__(self, done: float = 1, note: str = "") -> None:
        """Advance the bar."""


def is_watched() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


@contextmanager
def progress(what: str, total: float | None, unit: str = "blocks") -> Iterator[Advance]:
    """Show `what` while the block runs; does nothing when standard error is not a terminal."""
    if not is_watched():
        yield lambda done=1, note="": None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    done_so_far = TextColumn("{task.completed:,.0f}" + (" of {task.total:,.0f}" if total else "") + f" {unit}")
    remaining = (TextColumn("· remaining"), TimeRemainingColumn()) if total else ()
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), done_so_far, TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), *remaining,
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
    """Show a spinner for `what`, where progress cannot be counted; silent when standard error is not a terminal."""
    if not is_watched():
        yield
        return
    with _console().status(what):
        yield


@cache
def _console() -> "Console":
    """Return the shared console, so that a bar inside a spinner is shown below it and not over it."""
    from rich.console import Console

    return Console(stderr=True)


def say(text: str) -> None:
    """Print one line to standard error; silent when that is not a terminal."""
    if is_watched():
        print(text, file=sys.stderr)  # noqa: T201
