"""Comparison of a trained model with its reference: held-out pairs by slice, answers, win rates, with intervals."""

__all__ = [
    "answers",
    "evaluate",
    "intervals",
    "logps",
    "slices",
    "wins",
]


def __dir__() -> list[str]:
    return sorted(__all__)
