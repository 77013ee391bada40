"""What a run says about itself: its numbers as plain data, the dataset card made of them, the HTML report, charts."""

__all__ = [
    "card",
    "card_data",
    "card_header",
    "charts",
    "generation",
    "html",
    "summary",
]


def __dir__() -> list[str]:
    return sorted(__all__)
