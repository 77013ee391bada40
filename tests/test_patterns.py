"""No regular expression of the project hangs: each is run as it is used, on long texts of its own characters."""

import importlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.structure import modules

CHARACTERS = 100_000  # for which a pattern of quadratic time takes a minute
SECONDS = 6
METHODS = ("match", "fullmatch", "search", "sub", "findall", "finditer", "split")


def patterns() -> Iterator[tuple[str, re.Pattern[Any], list[str]]]:
    """Yield the module-level patterns of all modules, with the methods that the source calls on them."""
    sources = {name: path.read_text("utf-8") for name, path in modules().items()}
    seen = set()
    for module, source in sources.items():
        if "distilabel" in source:
            continue
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, re.Pattern) and id(value) not in seen:
                seen.add(id(value))
                calls = {call for text in sources.values() for call in re.findall(rf"\b{name}\.(\w+)\(", text)}
                yield f"{module}.{name}", value, sorted(calls & set(METHODS)) or ["search"]


def texts(pattern: re.Pattern[Any]) -> Iterator[str]:
    """Yield long texts that repeat a piece of the pattern, which it nearly matches, with an unexpected end."""
    words = re.findall(r"[A-Za-z]+|[^\w\s]", pattern.pattern if isinstance(pattern.pattern, str) else "")
    pieces = dict.fromkeys(
        [*words, "a", "A", "1", " ", "\n", "\t", '"', "\\", "a.", "a,", '{"', '["', "- ", "<|", "/a", "`"]
    )
    for piece in pieces:
        for end in ("", "!", "\x00\n"):
            yield piece * (CHARACTERS // len(piece)) + end


def try_all() -> None:
    """Print the time of the slowest text of each pattern; run in a process that can be killed."""
    for name, pattern, calls in patterns():
        for call in calls:
            slowest = 0.0
            print(f"{name}.{call}", end=" ", flush=True)  # noqa: T201
            for text in texts(pattern):
                data: Any = text if isinstance(pattern.pattern, str) else text.encode()
                start = time.monotonic()
                found = getattr(pattern, call)(*([data[:0], data] if call == "sub" else [data]))
                if call == "finditer":
                    list(found)
                slowest = max(slowest, time.monotonic() - start)
            print(f"{slowest:.1f}", flush=True)  # noqa: T201


@pytest.mark.slow
def test_patterns_take_about_linear_time() -> None:
    program = "from tests.test_patterns import try_all; try_all()"
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"hangs: {(error.stdout or b'').decode().splitlines()[-1]}") from None
    assert done.returncode == 0, done.stderr
    times = dict(line.split() for line in done.stdout.splitlines())
    assert len(times) > 15
    assert {name: spent for name, spent in times.items() if float(spent) > SECONDS} == {}
