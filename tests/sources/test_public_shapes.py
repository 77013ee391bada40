"""Shapes of public preference data: no pair that is not in the data, and as many read as before, at least."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.forked import curate

SHAPES = Path(__file__).resolve().parents[3] / "shared" / "formats"
LEAST_RIGHT = 49
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
    assert [name for name, outcome in outcomes.items() if outcome in ("WRONG", "crashed", "partial")] == []
    assert Counter(outcomes.values())["right"] >= LEAST_RIGHT
