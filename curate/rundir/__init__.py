"""The run directory: how stages and products are stored in it, and how a finished run is opened again."""

__all__ = [
    "checksums",
    "manifest",
    "result",
    "store",
    "writers",
]


def __dir__() -> list[str]:
    return sorted(__all__)
