"""
The stages of a run, one module each: what the stage before wrote → a folder of parts in the store.

A stage is skipped when its key (recipe section, inputs, version) is already there. Import from the modules: some are
named like the function they hold.
"""

__all__ = [
    "decontaminate",
    "dedup",
    "measure",
    "read",
    "remaining",
    "select",
    "split",
    "vectors",
    "write",
]


def __dir__() -> list[str]:
    return sorted(__all__)
