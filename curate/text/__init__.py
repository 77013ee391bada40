"""Text as data: messages as polars expressions, and texts as hashes of their words. Nothing here knows about pairs."""

__all__ = [
    "blocks",
    "messages",
    "normalized_words",
    "shingles",
    "stable_words",
    "tokens",
    "utf8",
]


def __dir__() -> list[str]:
    return sorted(__all__)
