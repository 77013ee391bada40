"""Generate prompts: requests by one of several methods, parsing of the replies, and a novelty filter."""

__all__ = [
    "make",
    "methods",
    "novelty",
    "passages",
    "replies",
]


def __dir__() -> list[str]:
    return sorted(__all__)
