"""Output: control characters are escaped, a failing stream ends nothing, bars are for terminals, lines for others."""

import ast
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate import terminal
from curate.terminal import Output, outputs, show, show_json, tell, visible, visible_json
from tests.structure import PACKAGES, ROOT, modules, tree

PROGRAM = """
import curate.terminal as p
p.PATIENCE = -1
with p.progress("read", 3, "rows") as advance:
    advance(); advance(2)
"""
# Only these may print: all else goes through the first. The second runs in a separate process, whose output is read.
PRINTERS = {"curate/terminal/__init__.py", "pipelines/clients/server.py"}


def test_progress_is_silent_without_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")
def test_progress_is_shown_on_a_terminal_on_standard_error_only() -> None:
    import pty

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode 漢字 🎉", "plain text, ünïcode 漢字 🎉"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("from\r\nWindows", "from\nWindows"),
        ("over\rwritten", r"over\x0dwritten"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("caf\udce9", r"caf\udce9"),
        ("שלום\u200f, \u200eok", "שלום\u200f, \u200eok"),  # marks that reverse nothing
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_json_stays_the_same_json() -> None:
    value = {"a": "\x1b\x7f\x9b\u202e\udce9 \n", "b": ["\x00"]}
    text = visible_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isascii()


def test_every_way_to_print_is_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    show("\x1b[1m")
    show_json("\x9b")
    tell("one\x07\nline")
    print("\x1b]0;\x07")  # noqa: T201
    with outputs():
        print("\x1b]0;\x07", "\x9b", file=sys.stderr)  # noqa: T201
        sys.stdout.write("\u202e")
    out, err = capsys.readouterr()
    assert out == '\\x1b[1m\n"\\u009b"\n' + "\x1b]0;\x07\n" + "\\u202e"
    assert err == "one\\x07 line\n" + "\\x1b]0;\\x07 \\x9b\n"


def test_bars_of_libraries_still_move() -> None:
    written = io.StringIO()
    output = Output(written)
    for text in ("\r 50%", "\n", "\x1b[A", "\n\n\x1b[A\x1b[A", "\x1b[A text"):
        output.write(text)
    assert written.getvalue() == "\r 50%\n\x1b[A\n\n\x1b[A\x1b[A\\x1b[A text"


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_is_dropped_and_reported() -> None:
    full, closed = Output(Full()), Output(io.StringIO())
    closed.close()
    for output, why in ((full, "No space left"), (closed, "closed")):
        output.write("text")
        output.write("more")
        assert why in str(output.why_lost())
    fine = Output(io.StringIO())
    fine.write("text")
    assert fine.why_lost() is None


def printing(path: Path) -> list[str]:
    """Return everything in a file that prints or could print."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "Console", "rich.print", "os.write") or name.endswith(
                (".echo", ".secho", "StreamHandler", "RichHandler", "basicConfig", ".print_exception")
            ):
                found.append(f"{path.name}:{node.lineno} {name}")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr", "sys.__stdout__"):
            found.append(f"{path.name}:{node.lineno} {ast.unparse(node)}")
    return found


@pytest.mark.slow
def test_nothing_prints_past_the_filter() -> None:
    assert PACKAGES == ("curate", "pipelines", "train")
    assert printing(ROOT / "curate/terminal/__init__.py")  # the search finds something
    others = [path for path in modules().values() if str(path.relative_to(ROOT)) not in PRINTERS]
    assert [line for path in others for line in printing(path)] == []


def test_without_a_terminal_a_line_says_what_is_happening(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing advances, as with an endpoint that does not answer."""
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.05)
    with terminal.progress("generate", 8, "requests") as advance:
        advance(3, "1.5/s")
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert set(lines) == {"generate · 3 of 8 requests · 1.5/s · 0 s"}
    with terminal.busy("starting a model"):
        time.sleep(0.2)
    assert set(capsys.readouterr().err.splitlines()) == {"starting a model · 0 s"}


def test_a_short_step_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.progress("read", 3, "rows") as advance:
        advance(3)
    assert capsys.readouterr().err == ""
