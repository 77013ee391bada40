"""
Models in this process. Sentence embeddings: load an encoder, cache its vectors by text, compare vectors by cosine
similarity. Causal and reward models: load them, log-probs and rewards in batches, cache these numbers.
"""

__all__ = [
    "cache",
    "cosine",
    "encoder",
    "local_models",
    "number_cache",
]


def __dir__() -> list[str]:
    return sorted(__all__)
