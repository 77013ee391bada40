"""Publish a run to the Hub in one commit, pull it, or export it elsewhere."""

__all__ = [
    "append_check",
    "bundle",
    "candidates",
    "croissant",
    "export",
    "facts",
    "forms",
    "gates",
    "hub",
    "licences",
    "model",
    "names",
    "plan",
    "pull",
    "push",
    "repo_file",
    "secrets",
]


def __dir__() -> list[str]:
    return sorted(__all__)
