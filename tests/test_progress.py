"""Progress: on a terminal after a moment, otherwise silent."""

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import curate.progress as p
p.PATIENCE = -1
with p.progress("read", 3, "rows") as advance:
    advance(); advance(2)
"""


def test_silent_without_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")
def test_shown_on_a_terminal_and_only_on_standard_error() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == b""
    assert "read" in shown
    assert "3 of 3 rows" in shown
