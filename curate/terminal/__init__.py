"""
Everything that is printed passes through here: results, errors, progress bars, and what libraries print meanwhile.

Texts of rows, file names, models and servers may contain control characters by which a terminal is steered; they are
printed as visible escapes. What cannot be printed (a closed pipe, a full disk) never ends the work.
"""

import contextlib
import errno
import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Advance", "Output", "busy", "console", "is_broken_pipe", "is_watched", "outputs", "prepare", "progress", "say",
    "show", "show_json", "tell", "visible", "visible_json",
]  # fmt: skip
PATIENCE = 1.0  # seconds before a bar appears
LINE_EVERY = 10.0  # seconds between lines where there is no terminal
# C0 without newline and tab, DEL, C1; characters that change the direction of text; halves of surrogate pairs, by which
# Python represents bytes that are not UTF-8.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CURSOR_MOVES = re.compile(r"\n*(?:\x1b\[A)*")  # of nested tqdm bars, which write them separately from any text
LEAST_COLUMNS = 20
ADDRESS_SPACE = 80 << 30  # bytes, of which a run takes 71 GB
OPEN_FILES, LEAST_OPEN_FILES = 1024, 64


def visible(text: str) -> str:
    r"""Return a text with its control characters as escapes: `\x1b`, `\u202e`. Newlines and tabs are kept."""
    return CONTROLS.sub(_escape, text.replace("\r\n", "\n")) if CONTROLS.search(text) else text


def visible_json(text: str) -> str:
    """Return the same for JSON, which stays equal JSON."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Advance(Protocol):
    """Called with the progress since the last call, and a note to display."""

    def __call__(self, done: float = 1, note: str = "") -> None:
        """Advance the bar."""


def is_watched() -> bool:
    """Whether standard error is a terminal."""
    return bool(sys.stderr) and sys.stderr.isatty()


def show(text: str, end: str = "\n") -> None:
    """Print a result to standard output."""
    print(visible(text), end=end)


def show_json(value: Any) -> None:
    """Print plain data as JSON to standard output."""
    print(visible_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def tell(text: str) -> None:
    """Print one line to standard error."""
    print(visible(" ".join(text.split("\n"))), file=sys.stderr)


def say(text: str) -> None:
    """Print one line to standard error; silent when that is not a terminal."""
    if is_watched():
        tell(text)


@contextlib.contextmanager
def progress(what: str, total: float | None, unit: str = "blocks") -> Iterator[Advance]:
    """Show `what` while the block runs; where standard error is not a terminal, as a line every ten seconds."""
    if not is_watched():
        with _lines(what, total, unit) as advance:
            yield advance
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    done_so_far = TextColumn("{task.completed:,.0f}" + (" of {task.total:,.0f}" if total else "") + f" {unit}")
    remaining = (TextColumn("· remaining"), TimeRemainingColumn()) if total else ()
    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), done_so_far, TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), *remaining,
    )  # fmt: skip
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    task = bar.add_task(what, total=total, note="")
    started = time.monotonic()
    live = False

    def move(done: float = 1, note: str = "") -> None:
        nonlocal live
        bar.update(task, advance=done, note=note)
        if not live and time.monotonic() - started > PATIENCE:
            bar.start()
            live = True

    try:
        yield move
    finally:
        if live:
            bar.stop()


@contextlib.contextmanager
def _lines(what: str, total: float | None, unit: str) -> Iterator[Advance]:
    """Print a line every ten seconds while the block runs, also if nothing advances."""
    done_so_far, said, ended, started = 0.0, "", threading.Event(), time.monotonic()

    def advance(done: float = 1, note: str = "") -> None:
        nonlocal done_so_far, said
        done_so_far, said = done_so_far + done, note

    def report() -> None:
        while not ended.wait(LINE_EVERY):
            count = f"{done_so_far:,.0f}" + (f" of {total:,.0f}" if total else "") + f" {unit}" if unit else ""
            seconds = f"{time.monotonic() - started:,.0f} s"
            tell(" · ".join(filter(None, (what, count, said, seconds))))

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Show a spinner for `what`, where progress cannot be counted; without a terminal a line every ten seconds."""
    if not is_watched():
        with _lines(what, None, ""):
            yield
        return
    with console(stderr=True).status(what):
        yield


@cache
def console(*, stderr: bool = False) -> "Console":
    """Return the console of a stream, shared so that a bar inside a spinner is shown below it and not over it."""
    from rich.console import Console
    from rich.segment import Segment

    class Filtered(Console):
        """Styles and cursor movements are rich's own; texts are filtered before they get any."""

        def render(self, *renderable: Any, **options: Any) -> Iterator[Segment]:
            for segment in super().render(*renderable, **options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    return Filtered(highlight=False, stderr=stderr)


class Output:
    """
    A standard stream that shows control characters and never fails: what cannot be written is left out, and `lost` says
    why. Everything else is the stream's own.

    `rich_proxied_file` is where rich writes, whose control sequences are its own: the same stream without the filter.
    """

    def __init__(self, stream: Any, *, filtered: bool = True) -> None:
        self._stream, self._filtered = stream, filtered
        self.lost: Exception | None = None
        self.rich_proxied_file = Output(stream, filtered=False) if filtered else None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for streams of other encodings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text."""
        if self._filtered and not CURSOR_MOVES.fullmatch(text):
            # A carriage return is how libraries' bars go back to the start of the line.
            text = "\r".join(visible(part) for part in text.split("\r"))
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write the texts."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Write what is buffered."""
        self._try(self._stream.flush)

    def why_lost(self) -> Exception | None:
        """Return why something could not be written, or None."""
        self.flush()
        return self.lost or (self.rich_proxied_file.lost if self.rich_proxied_file else None)

    def _try(self, call: Any) -> None:
        if self.lost is not None:
            return
        try:
            call()
        except (OSError, ValueError) as error:  # ValueError: closed
            self.lost = error
            with contextlib.suppress(OSError, ValueError):  # what is buffered goes nowhere at exit, without an error
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


def prepare() -> str | None:
    """
    Prepare the process for the command. Return a sentence if the system's limits are too low to work at all: libraries
    would abort in the middle of a run, without an error that could be reported.
    """
    _open_closed_streams()
    try:
        import resource
    except ImportError:  # Windows
        return None
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY and space < ADDRESS_SPACE:
        return (
            f"the address space is limited to {space >> 20:,} MB (ulimit -v), and the library that draws charts "
            f"reserves {ADDRESS_SPACE >> 30} GB of it, unused: set it to unlimited, and limit memory by a control group"
        )
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < OPEN_FILES:  # raised as far as the system lets us
        files = OPEN_FILES if most == resource.RLIM_INFINITY else min(most, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        if files < LEAST_OPEN_FILES:
            return f"only {files} open files are allowed (ulimit -n); expected at least {LEAST_OPEN_FILES}"
    return None


def _open_closed_streams() -> None:
    """
    Open standard streams that the caller closed (`>&-`), to nowhere. Otherwise the next file that is opened would take
    their number, and what is printed would be written into it.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(nowhere)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: SIM115 - stays open


@contextlib.contextmanager
def outputs() -> Iterator[tuple[Output, Output]]:
    """Replace standard output and error by filtered ones, for everything that is printed while the block runs."""
    for name, least in (("COLUMNS", LEAST_COLUMNS), ("LINES", 2), ("TERMINAL_WIDTH", LEAST_COLUMNS)):
        value = os.environ.get(name, "")
        if not re.fullmatch(r"[0-9]{1,4}", value) or int(value) < least:
            os.environ.pop(name, None)  # rich and typer would fail, or print one character per line
    before, found = (sys.stdout, sys.stderr), (Output(sys.stdout), Output(sys.stderr))
    sys.stdout, sys.stderr = cast("tuple[Any, Any]", found)
    try:
        yield found
    finally:
        sys.stdout, sys.stderr = before


def is_broken_pipe(error: Exception) -> bool:
    """Whether the reader of a pipe went away, as `head` does."""
    return isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ESHUTDOWN)


def __dir__() -> list[str]:
    return sorted(__all__)
