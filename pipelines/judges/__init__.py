"""Scores for answers: judges by rubric or comparison, reward models, the heuristic; and how far judges agree."""

__all__ = [
    "agreement",
    "heuristic",
    "judge",
    "parse",
    "rubrics",
    "scorers",
    "scoring",
]


def __dir__() -> list[str]:
    return sorted(__all__)
