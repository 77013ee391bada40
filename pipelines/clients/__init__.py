"""Asking models: one dispatcher with cache, budget and limits; endpoints, local models, an embedded server."""

__all__ = [
    "budget",
    "cache",
    "completions",
    "connect",
    "dispatcher",
    "endpoint",
    "keys",
    "limits",
    "llms",
    "local",
    "requests",
    "server",
    "tasks",
]


def __dir__() -> list[str]:
    return sorted(__all__)
