"""
Ctrl-C, put off while polars has called back into Python: raised there, it would end in a panic in Rust, whose message
and traceback reach the terminal, instead of in one line.
"""

import _thread
import signal
import threading
import time
from types import FrameType

AGAIN = 0.01  # seconds until a deferred interrupt is tried again
LONGEST = 1.0  # seconds for which it is deferred


def defer_inside_polars() -> None:
    """
    Install the handler, where Ctrl-C has Python's own one. Called before polars is imported: polars passes what does
    not interrupt its own computations on to the handler that it found.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Handler())


class _Handler:
    """Raises KeyboardInterrupt, at the latest a second after the signal."""

    def __init__(self) -> None:
        self._due: float | None = None  # when a deferred interrupt is raised wherever the program is

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._due = now + LONGEST if self._due is None else self._due
        if now < self._due and _is_inside_polars(frame):
            again = threading.Timer(AGAIN, _thread.interrupt_main)
            again.daemon = True
            again.start()
            return
        self._due = None
        raise KeyboardInterrupt


def _is_inside_polars(frame: FrameType | None) -> bool:
    """Whether the frame, or one that called it, belongs to polars."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == "polars":
            return True
        frame = frame.f_back
    return False
