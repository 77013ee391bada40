"""The recipe: its sections with their defaults (`data`, `models`), and how it is loaded and written (`load`)."""

__all__ = [
    "data",
    "load",
    "models",
    "options",
    "published",
]


def __dir__() -> list[str]:
    return sorted(__all__)
