"""Of how many processes a training is one, as `accelerate launch` and torchrun tell it."""

import os


def count() -> int:
    """Processes that train together, one a GPU; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes, prints and pushes."""
    return os.environ.get("RANK", "0") == "0"
