"""The report on a run: its numbers as plain data, the dataset card, the HTML report, charts."""

__all__ = [
    "audit",
    "bounds",
    "card",
    "card_data",
    "card_header",
    "charts",
    "differences",
    "environment",
    "examples",
    "figures",
    "generation",
    "html",
    "labels",
    "scores",
    "summary",
    "svg",
    "topics",
]


def __dir__() -> list[str]:
    return sorted(__all__)
