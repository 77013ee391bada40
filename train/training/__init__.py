"""Training with TRL: options that fit the data and the machine, the training itself, its log, and early stopping."""

__all__ = [
    "defaults",
    "fit",
    "generations",
    "memory",
    "monitor",
    "processes",
    "settings",
    "sft",
    "train",
    "watch",
]


def __dir__() -> list[str]:
    return sorted(__all__)
