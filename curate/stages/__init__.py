"""
The stages of a run, one module each: the output of the previous stage → a folder of parts in the store.

A stage is skipped if it exists with the same key (recipe section, inputs, version). Import from the modules: some have
the name of a function they define.
"""

__all__ = [
    "decontaminate",
    "dedup",
    "measure",
    "models",
    "read",
    "remaining",
    "select",
    "split",
    "vectors",
    "write",
]


def __dir__() -> list[str]:
    return sorted(__all__)
