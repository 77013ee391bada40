"""Rank and world size, from the launcher's environment (`accelerate launch`, torchrun)."""

import os


def world_size() -> int:
    """Return the number of processes that train together, one per GPU; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Return whether this is the process that writes files, prints and pushes (rank 0)."""
    return os.environ.get("RANK", "0") == "0"
