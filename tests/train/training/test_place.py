"""A training replaces trainings, and nothing else."""

from pathlib import Path

import pytest

import curate
from curate.errors import RecipeError
from curate.recipe.training import Train
from tests.data import rows
from train.training.train import train

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and TRL


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_foreign_files_is_refused_whatever_the_flag(tmp_path: Path, force: bool) -> None:
    run = curate.clean(rows(8), out=tmp_path / "RUN")
    mine = tmp_path / "mine" / "model" / "weights.bin"
    mine.parent.mkdir(parents=True)
    mine.write_text("trained for a week")
    with pytest.raises(RecipeError, match=r"is not empty and contains no training \(model, …\); choose another --out"):
        train(run, Train(model="no-such-model"), tmp_path / "mine", force=force)
    assert mine.read_text() == "trained for a week"
    with pytest.raises(RecipeError, match="contains a run, not a training"):
        train(run, Train(model="no-such-model"), run.folder, force=force)
    assert curate.open_run(run.folder).counts["kept"] == 8
