"""
Scores for answers: LLM judges by rubric or comparison, reward models, a heuristic; and how far judges agree.

A kind of judge is one class that follows `base.Judge`, listed in `panel.JUDGES`. Everything else asks the protocol.
"""

__all__ = [
    "agreement",
    "base",
    "heuristic",
    "llm",
    "panel",
    "parse",
    "reward",
    "rubrics",
    "scoring",
]


def __dir__() -> list[str]:
    return sorted(__all__)
