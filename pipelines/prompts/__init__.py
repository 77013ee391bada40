"""New prompts: asked for by a method, read from replies, kept when they are new."""

__all__ = [
    "make",
    "methods",
    "novelty",
    "passages",
    "replies",
]


def __dir__() -> list[str]:
    return sorted(__all__)
