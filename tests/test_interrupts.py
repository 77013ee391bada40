"""Ctrl-C while polars calls Python."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to itself")

PROGRAM = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from curate.terminal.interrupts import defer_inside_polars
defer_inside_polars()
import polars

def called(value):
    os.kill(os.getpid(), signal.SIGINT)
    started = time.monotonic()
    while time.monotonic() - started < {seconds}:
        time.sleep(0.01)
    print("returned")
    return value

try:
    {interrupted}
    time.sleep(5)
    print("never interrupted")
except KeyboardInterrupt:
    print("interrupted")
except BaseException as error:
    print(type(error).__name__)
"""
IN_POLARS = "polars.Series([1]).map_elements(called, return_dtype=polars.Int64)"


def printed(interrupted: str, seconds: float) -> tuple[list[str], str]:
    program = PROGRAM.format(interrupted=interrupted, seconds=seconds)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines(), done.stderr


def test_polars_call_ends_first() -> None:
    assert printed(IN_POLARS, 0.1) == (["returned", "interrupted"], "")


def test_outside_polars_at_once() -> None:
    assert printed("called(1)", 0.1) == (["interrupted"], "")


def test_a_long_call_is_interrupted_after_a_second() -> None:
    assert printed(IN_POLARS, 4)[0] == ["interrupted"]


def test_other_handlers_stay() -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        "from curate.terminal.interrupts import defer_inside_polars; defer_inside_polars();"
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "True\n"
