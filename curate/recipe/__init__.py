"""
The recipe: its sections with their defaults (`data`, `models`, `scoring`, `training`), how it is loaded and written
(`load`), what one from elsewhere may use (`consent`), and what of it may be published (`published`).
"""

__all__ = [
    "consent",
    "data",
    "endpoint",
    "load",
    "models",
    "options",
    "published",
    "scoring",
    "training",
]


def __dir__() -> list[str]:
    return sorted(__all__)
