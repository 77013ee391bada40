"""The tutorial runs, cell by cell, with a model of a few thousand weights."""

import json
import os
from pathlib import Path

import pytest

import train
from tests import forked
from tests.train.tiny import tiny_model

NOTEBOOK = json.loads((Path(train.__file__).parent / "tutorial.ipynb").read_text("utf-8"))


def cells() -> list[str]:
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_has_no_outputs() -> None:
    assert all(not cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL
def test_every_cell_runs(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    settings = {"TUTORIAL_MODEL": model, "TUTORIAL_STEPS": "6", "TUTORIAL_RATE": "5e-3", "TMPDIR": str(tmp_path)}
    program = "\n".join(cells()).replace(
        "overall = ", "assert report['slices'][0]['accuracy']['mean'] > 0.5\noverall = "
    )
    (tmp_path / "tutorial.py").write_text(program, "utf-8")
    done = forked.python(tmp_path / "tutorial.py", os.environ | settings, forked.TRAINING)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'dropped': 1" in done.stdout
    assert "evaluation.html" in done.stdout
