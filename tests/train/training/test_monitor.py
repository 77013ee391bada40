"""Warnings, stop reasons and charts from logs."""

from typing import Any

import pytest

from train.training.monitor import curves, stop_reason, warnings


def evaluations_at(*accuracies: float, **last: float) -> list[dict[str, float]]:
    history = [{"step": 10 * (n + 1), "eval_rewards/accuracies": a} for n, a in enumerate(accuracies)]
    history[-1] |= last
    return history


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (evaluations_at(0.6, 0.7, 0.68), None),
        (evaluations_at(0.6, 0.7, 0.6), None),
        (evaluations_at(0.6, 0.7, 0.6, 0.62), "held-out accuracy fell from 0.70 to 0.62"),
        (evaluations_at(0.6, 0.7, 0.6, 0.69), None),
        (
            evaluations_at(0.9, **{"eval_rewards/chosen": -4.0, "eval_logps/chosen": -100.0}),
            "chosen log-probs fell by 40 nats, 67% of the reference's",
        ),
        (evaluations_at(0.9, **{"eval_rewards/chosen": -4.0, "eval_logps/chosen": -200.0}), None),
        (evaluations_at(0.9, **{"eval_rewards/chosen": -1.0, "eval_logps/chosen": -12.0}), None),
        ([], None),
    ],
)
def test_stop_reason(history: list[dict[str, float]], reason: str | None) -> None:
    assert stop_reason(history, 0.1) == reason


def test_warnings() -> None:
    history = [
        {"step": 0, "eval_generation_tokens": 60.0},
        {"step": 1, "loss": 0.69, "grad_norm": 1.0, "rewards/accuracies": 0.5},
        {"step": 2, "loss": 0.4, "grad_norm": 1.2, "rewards/accuracies": 0.99},
        {"step": 2, "eval_loss": 0.6, "eval_rewards/accuracies": 0.6},
        {"step": 3, "loss": 0.1, "grad_norm": 30.0, "rewards/accuracies": 1.0},
        {
            "step": 3, "eval_loss": 0.9, "eval_rewards/accuracies": 0.5,
            "eval_rewards/chosen": -4.0, "eval_logps/chosen": -140.0,
        },
        {"step": 3, "eval_generation_tokens": 120.4},
    ]  # fmt: skip
    found = warnings(history, 0.1)
    assert [sentence.split(":")[0] for sentence in found] == [
        "chosen log-probs fell by 40 nats (40% of the reference's)",
        "accuracy is 0.83 on training pairs and 0.50 on held-out pairs",
        "held-out accuracy is 0.50, no better than chance",
        "held-out loss was lowest at evaluation 1 of 2 and rose afterwards",
        "answers grew from 60 to 120 tokens",
        "a gradient norm of 30 is more than 20 times the median",
    ]
    assert warnings([], 0.1) == []
    assert warnings(evaluations_at(0.7, 0.8), 0.1) == []
    assert warnings([{"step": n, "eval_generation_tokens": tokens} for n, tokens in ((0, 4), (9, 20))], 0.1) == []


def test_curves() -> None:
    history: list[dict[str, Any]] = [
        {"step": 1, "loss": 0.7},
        {"step": 1, "eval_loss": 0.6, "eval_rewards/chosen": 0.2, "loss": None},
    ]
    assert curves(history, 0.1) == {
        "loss": {"train": [(1, 0.7)], "held out": [(1, 0.6)]},
        "log-ratio to the reference on held-out answers, nats": {"chosen": [(1, 2.0)]},
    }
    assert list(curves(history, 0)) == ["loss"]
