"""The report on a run: its numbers as plain data, the dataset card, the HTML report, charts."""

__all__ = [
    "card",
    "card_data",
    "card_header",
    "charts",
    "environment",
    "generation",
    "html",
    "summary",
]


def __dir__() -> list[str]:
    return sorted(__all__)
