"""
Shapes of public preference data: no pair that is not in the data, and as many read as before, at least.

run.py compares contents only. Rows with calls of tools, which it expects to be refused because calls would be lost, are
compared here: nothing of them is.
"""

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate import read
from tests.forked import curate

SHAPES = Path(__file__).resolve().parents[3] / "shared" / "formats"
LEAST_RIGHT = 62
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHAPES / "run.py").is_file(), reason=f"the shapes are not there: {SHAPES}"),
]


def test_public_shapes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("shapes", SHAPES / "run.py")
    assert spec
    assert spec.loader
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    outcomes: dict[str, str] = {}
    for shape in json.loads((SHAPES / "expected.json").read_text("utf-8")):
        out = tmp_path / shape["name"]
        settings = [part for setting in shapes.SET for part in ("--set", setting)]
        done = curate("clean", SHAPES / shape["file"], "--out", out, *settings)
        said = done.stderr + ("" if done.returncode == 0 else done.stdout)
        outcomes[shape["name"]] = shapes.score(shape, out, done.returncode, said)["outcome"]
    assert outcomes.pop("tool_calls") == "WRONG"
    assert [name for name, outcome in outcomes.items() if outcome in ("WRONG", "crashed", "partial")] == []
    assert Counter(outcomes.values())["right"] >= LEAST_RIGHT


def test_no_call_is_lost(tmp_path: Path) -> None:
    lines = (SHAPES / "tool_calls.jsonl").read_text("utf-8").splitlines()
    pairs = read(SHAPES / "tool_calls.jsonl")
    assert pairs.height == len(lines) == 8
    for line, pair in zip(lines, pairs.iter_rows(named=True), strict=True):
        row = json.loads(line)
        assert json.loads(pair["tools"]) == row["tools"]
        for side in ("prompt", "chosen", "rejected"):
            assert [calls_of(turn) for turn in pair[side]] == [calls_of(turn) for turn in row[side]]


def calls_of(turn: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a message says, and its calls with their arguments decoded."""
    calls = turn.get("tool_calls") or []
    functions = [call["function"] for call in (json.loads(calls) if isinstance(calls, str) else calls)]
    arguments = [json.loads(f["arguments"]) if isinstance(f["arguments"], str) else f["arguments"] for f in functions]
    called = [(function["name"], given) for function, given in zip(functions, arguments, strict=True)]
    return turn["role"], turn["content"] or "", turn.get("tool_call_id"), called
