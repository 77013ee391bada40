"""
What a notebook uses: frames in, frames out, and whole runs. `import curate` exports all of it.

Every function that takes pairs takes what `curate.read` takes: PAIR, any other table in memory, paths, Hub ids. The
functions with the name of a command are what the command calls.
"""

__all__ = [
    "auditing",
    "catalog",
    "checking",
    "choosing",
    "comparing",
    "converting",
    "frames",
    "locations",
    "publishing",
    "runs",
    "training",
    "tuning",
]


def __dir__() -> list[str]:
    return sorted(__all__)
