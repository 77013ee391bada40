"""Bake-offs: short trainings on several sets of pairs, compared on the same held-out pairs."""

__all__ = [
    "arms",
    "bakeoff",
]


def __dir__() -> list[str]:
    return sorted(__all__)
