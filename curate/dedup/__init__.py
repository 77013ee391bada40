"""Duplicates among pairs: texts → edges → clusters → the rows that are dropped, and the row each one duplicates."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.dedup.frames import exact, near, semantic

__all__ = ["exact", "near", "semantic"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'curate.dedup' has no attribute {name!r}")
    return getattr(importlib.import_module("curate.dedup.frames"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
