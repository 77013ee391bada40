"""Faults of the machine or the user end in a one-line error and an exit code, never in "a bug"; no work is lost."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.data import rows, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Windows has other limits and names")]
COMMAND = f"{sys.executable} -m curate"
LOOP, LONG = "loop", "a" * 300
NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "p.jsonl", rows(6))
    (tmp_path / LOOP).symlink_to(LOOP)
    os.mkfifo(tmp_path / "fifo.jsonl")
    with socket.socket(socket.AF_UNIX) as unix:
        before = Path.cwd()
        os.chdir(tmp_path)  # a socket's address must be short
        unix.bind("s.jsonl")
        os.chdir(before)
    (tmp_path / "latin").mkdir()
    for folder in (tmp_path, tmp_path / "latin"):
        shutil.copy(tmp_path / "p.jsonl", folder / os.fsdecode(b"caf\xe9.jsonl"))
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_jsonl(folder / "p.jsonl", rows(6))
    assert shell(folder, f"{COMMAND} clean p.jsonl -o RUN").returncode == 0
    return folder


def ran(folder: Path, line: "str | bytes") -> subprocess.CompletedProcess[str]:
    """Run the command with a line's arguments: by the shell if it redirects streams, else in a forked process."""
    text = os.fsdecode(line)
    if set("<>|;&$") & set(text):
        return shell(folder, COMMAND.encode() + b" " + os.fsencode(text))
    return forked.curate(*shlex.split(text), folder=folder)


def shell(folder: Path, line: "str | bytes", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, as a user types it."""
    options["env"] = {**os.environ, "OMP_NUM_THREADS": "1", **options.get("env", {})}
    arguments: list[str | bytes] = ["bash", "-c", line]
    return subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, **options
    )


def check(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    """Assert the exit code, and one line of error with these words, or none."""
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert done.stderr.count("\n") == (1 if said else 0), done.stderr
    assert "bug" not in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        # names
        (b"caf\xe9.jsonl -o RUN", 2, "caf\\udce9.jsonl is not UTF-8; rename"),
        (b"p.jsonl -o caf\xe9", 2, "caf\\udce9 is not UTF-8; rename"),
        ("latin -o RUN", 2, "has a name that is not UTF-8; rename it"),
        (f"{LONG}.jsonl -o RUN", 2, "the name is too long"),
        (f"p.jsonl -o {LONG}", 2, "the name is too long"),
        (f"p.jsonl -o {'a/' * 3000}", 2, "the name is too long"),
        ("p.jsonl -o 'runs[1]'", 0, ""),
        ("p.jsonl -o 'r[b-a]'", 0, ""),
        # sources and folders of another kind
        (f"{LOOP} -o RUN", 2, "loop is a link that leads back to itself"),
        (f"p.jsonl -o {LOOP}", 2, "is a link that leads back to itself"),
        ("fifo.jsonl -o RUN", 2, "is not a regular file"),
        ("s.jsonl -o RUN", 2, "is not a regular file"),
        ("/dev/zero -o RUN", 2, "is not a regular file"),
        ("folder -o RUN", 2, "contains no data file"),
        ("p.jsonl -o p.jsonl", 2, "p.jsonl is a file; --out must be a folder"),
        ("p.jsonl -o p.jsonl/RUN", 2, "is a file; --out must be a folder"),
        ("p.jsonl -o /dev/null", 2, "is a file; --out must be a folder"),
        ("p.jsonl -o /proc/RUN", 2, "/proc/RUN"),
        ("p.jsonl -o RUN --limit 123456789012345678901234567890", 2, ""),
        # streams
        ("p.jsonl -o RUN >&-", 0, ""),
        ("p.jsonl -o RUN 2>&-", 0, ""),
        ("p.jsonl -o RUN <&- >&- 2>&-", 0, ""),
        ("p.jsonl -o RUN --json | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("p.jsonl -o RUN | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("p.jsonl -o RUN > /dev/full", 0, "could not be printed: No space left on device; everything else is done"),
        ("p.jsonl -o RUN 2> /dev/full", 0, ""),
        ("none.jsonl -o RUN > /dev/full", 2, "none.jsonl does not exist"),
    ],
)
def test_clean_with_odd_names_sources_and_streams(place: Path, line: "str | bytes", code: int, said: str) -> None:
    done = ran(place, b"clean " + os.fsencode(line))
    if "limit" in str(line):  # the recipe's own bound may refuse it, too
        assert (done.returncode, done.stderr.count("\n"), "bug" in done.stderr) == (2, 1, False)
        return
    check(done, code, said)
    if code == 0:
        (manifest,) = place.glob("*/manifest.json")
        assert json.loads(manifest.read_text())["counts"]["kept"] == 6


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "0"},
        {"COLUMNS": "1"},
        {"COLUMNS": "²", "LINES": "-3", "TERMINAL_WIDTH": "x"},
        {"COLUMNS": "99999999999999999999"},
        {"TERM": ""},
        {"PYTHONOPTIMIZE": "2"},
        {"TMPDIR": "/nope"},
        {"HOME": "/proc/nope"},
        {"HOME": "", "PYTHONUNBUFFERED": "1"},
    ],
)
def test_odd_environments(place: Path, settings: dict[str, str]) -> None:
    of_python = any(name.startswith(("PYTHON", "LC_")) for name in settings)  # read when Python starts

    def started(line: str) -> subprocess.CompletedProcess[str]:
        if of_python:
            return shell(place, f"{COMMAND} {line}", env=settings)
        return forked.curate(*line.split(), folder=place, env=os.environ | settings)

    check(shell(place, f"{COMMAND} clean p.jsonl -o RUN", env=settings), 0, "")
    shown = started("why RUN 1")
    check(shown, 0, "")
    assert "How do I restore file number 1 from last week's backup?" in shown.stdout
    check(started("--help"), 0, "")


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("export RUN http://127.0.0.1:9/x", 2, "nothing can be written to an address of this kind"),
        ("export RUN nope://x/y", 2, "Protocol not known"),
        ("export RUN p.jsonl", 2, "p.jsonl is a file"),
        ("export RUN /proc/x", 2, "/proc/x"),
        ("why RUN ²", 2, "no row ²"),
        ("why RUN 123456789012345678901234567890", 2, "no row 1234"),
        ("why RUN 1 --json > /dev/full", 2, "could not be printed: No space left on device"),
        ("recipe > /dev/full", 2, "could not be printed: No space left on device"),
        ("evals p.jsonl -o /proc/x.parquet", 2, "/proc/x.parquet"),
        ("evals p.jsonl -o RUN", 2, "RUN is a folder; --out must be a file"),
        ("run /tmp -o OUT", 2, "/tmp is a folder; a file was expected"),
        ("pull me/set -o p.jsonl", 2, "p.jsonl already exists"),
        ("--help | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("signals | head -1; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
def test_other_commands(run: Path, line: str, code: int, said: str) -> None:
    check(ran(run, line), code, said)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("-f 2", "would be larger than the system allows (ulimit -f)"),
        ("-f 10", "would be larger than the system allows (ulimit -f)"),
        ("-v 4000000", "the address space is limited to 3,906 MB (ulimit -v)"),
        ("-v 1000000", "the address space is limited to 976 MB (ulimit -v)"),
        ("-n 20", "only 20 open files are allowed (ulimit -n)"),
    ],
)
def test_limits_of_the_system(place: Path, limit: str, said: str) -> None:
    check(shell(place, f"ulimit {limit}; {COMMAND} clean p.jsonl -o RUN"), 2, said)
    check(ran(place, "clean p.jsonl -o RUN"), 0, "")


def test_a_soft_limit_of_open_files_is_raised(place: Path) -> None:
    check(shell(place, f"ulimit -S -n 20; {COMMAND} clean p.jsonl -o RUN"), 0, "")


def test_a_current_folder_that_is_gone(place: Path) -> None:
    gone = "mkdir gone && cd gone && rmdir ../gone && "
    check(shell(place, f"{gone}{COMMAND} clean ../p.jsonl -o RUN"), 2, "the current folder no longer exists")
    check(shell(place, f"{gone}{COMMAND} clean {place}/p.jsonl -o {place}/RUN"), 0, "")


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as another user: root may read and write anything."""
    other = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
    line = [*other, sys.executable, "-m", "curate", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=120)


@cache
def another_user_can_run_it() -> bool:
    return os.getuid() != 0 or bool(shutil.which("setpriv") and not as_nobody(Path("/"), "--version").returncode)


@pytest.mark.parametrize(
    ("prepare", "line", "said"),
    [
        (lambda p: (p / "p.jsonl").chmod(0), "clean p.jsonl -o OUT/RUN", "p.jsonl cannot be read: permission denied"),
        (
            lambda p: (p / "OUT").chmod(0o555),
            "clean p.jsonl -o OUT/RUN",
            "OUT/RUN cannot be written: permission denied",
        ),
        (lambda p: (p / "OUT").chmod(0o555), "clean p.jsonl -o OUT", "OUT/.lock cannot be written: permission denied"),
        (lambda p: (p / "OUT").chmod(0), "why OUT 1", "is not readable"),
        (lambda p: (p / "OUT").chmod(0), "clean OUT -o RUN", "OUT"),
        (lambda p: (p / "p.jsonl").chmod(0), "run p.jsonl -o OUT/RUN", "'p.jsonl' is not readable"),
        (lambda p: (p / "p.jsonl").chmod(0), "evals p.jsonl -o OUT/x", "p.jsonl cannot be read: permission denied"),
        (lambda p: (p / "OUT").chmod(0o555), "evals p.jsonl -o OUT/x", "OUT/x cannot be written: permission denied"),
    ],
)
def test_permissions(tmp_path: Path, prepare: Callable[[Path], None], line: str, said: str) -> None:
    # Folders of pytest and its workers are closed to others.
    for folder in (tmp_path, *[parent for parent in tmp_path.parents if parent.stat().st_uid == os.getuid()]):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    write_jsonl(tmp_path / "p.jsonl", rows(6))
    tmp_path.chmod(0o777)
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT").chmod(0o777)
    prepare(tmp_path)
    if not another_user_can_run_it():
        pytest.skip("another user may not run this interpreter")
    done = as_nobody(tmp_path, *line.split())
    (tmp_path / "OUT").chmod(0o755)
    assert said in done.stderr
    assert (done.returncode in (1, 2), done.stderr.count("\n"), "bug" in done.stderr) == (True, 1, False)


@pytest.mark.parametrize("delay", [0.15, 0.4, 0.8, 1.2])
def test_an_interrupt_at_any_time_is_one_line(place: Path, delay: float) -> None:
    line = [sys.executable, "-m", "curate", "clean", "p.jsonl", "-o", "RUN"]
    process = subprocess.Popen(line, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode in (1, -signal.SIGINT) and "in main" not in said:  # before our first line ran
        return
    assert process.returncode in (130, 0)
    assert said.count("\n") == (1 if process.returncode else 0), said
    assert "Traceback" not in said
