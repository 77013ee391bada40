"""Standard error without what native libraries write there."""

import subprocess
import sys

PROGRAM = """
import os, sys
from curate.terminal.natives import without_natives

print("1 python", file=sys.stderr)
os.write(2, b"2 native\\n")
with without_natives():
    print("3 python", file=sys.stderr)
    os.write(2, b"4 native\\n")
    os.system("echo 5 child >&2")
    print(sys.stderr.isatty(), file=sys.stderr)
print("6 python", file=sys.stderr)
os.write(2, b"7 native\\n")
"""


def test_only_python_is_heard() -> None:
    for options in ([], ["-u"]):
        done = subprocess.run([sys.executable, *options, "-c", PROGRAM], capture_output=True, text=True, check=True)
        assert done.stderr.splitlines() == ["1 python", "2 native", "3 python", "False", "6 python", "7 native"]


def test_a_stream_that_is_no_file_stays() -> None:
    program = "import io, sys\nsys.__stderr__ = io.StringIO()\n" + PROGRAM.replace("sys.stderr)", "sys.__stderr__)")
    program = program.replace("sys.stderr.isatty()", "0") + "print(sys.__stderr__.getvalue())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1 python", "3 python", "0", "6 python", ""]
    assert done.stderr.splitlines() == ["2 native", "4 native", "5 child", "7 native"]
