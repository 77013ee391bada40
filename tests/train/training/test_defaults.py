"""Options for TRL's trainers that are derived from others."""

from typing import Any

import pytest

from curate.recipe.training import Train
from train.training.defaults import planned_steps


@pytest.mark.parametrize(
    ("trl", "rows", "steps"),
    [
        ({}, 8, 2),
        ({}, 9, 3),  # the last batch is not full
        ({}, 0, 1),
        ({"num_train_epochs": 2}, 9, 6),
        ({"num_train_epochs": 0.5}, 9, 2),
        ({"max_steps": 1}, 9, 1),
        ({"max_steps": 70, "num_train_epochs": 2}, 9, 70),
        ({"max_steps": 0}, 9, 3),
        ({"max_steps": -1}, 9, 3),
    ],
)
def test_planned_steps_of_batches_of_four(trl: dict[str, Any], rows: int, steps: int) -> None:
    assert planned_steps(Train(trl=trl), rows, batch=4) == steps
