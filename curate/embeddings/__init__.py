"""Sentence embeddings: load an encoder, cache its vectors by text, compare vectors by cosine similarity."""

__all__ = [
    "cache",
    "cosine",
    "encoder",
]


def __dir__() -> list[str]:
    return sorted(__all__)
