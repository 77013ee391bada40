"""Answers as objects: `{"response": …, "model": …, "score": …}`, under the names that public datasets use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl

from curate.sources.message import Problem
from curate.sources.readers import turns

TEXTS = (
    "response", "completion", "answer", "text", "content", "output", "generation", "generated_text", "message",
    "messages", "response_text", "answer_text", "body",
)  # fmt: skip
SCORES = ("score", "overall_score", "rating", "pm_score", "reward", "overall", "quality", "votes", "upvotes")
RANKS = ("rank", "ranking", "place")  # 0 or 1 is the best
CHOICES = ("is_chosen", "if_chosen", "chosen", "is_preferred", "preferred", "is_best", "selected", "is_correct")
MODELS = ("model", "model_name", "source_model", "generator", "policy")
REASONS = ("rationale", "critique", "feedback", "reason")

Item = Mapping[str, Any]


def with_problems(frame: pl.DataFrame, problems: Mapping[int, Problem]) -> pl.DataFrame:
    """Return the frame with the problems of the rows at these places; a row keeps the problem that it has."""
    if not problems:
        return frame
    rules: list[str | None] = [None] * len(frame)
    details: list[str | None] = [None] * len(frame)
    for place, problem in problems.items():
        rules[place], details[place] = problem.rule, problem.detail
    new = pl.DataFrame({"rule": pl.Series(rules, dtype=pl.String), "about": pl.Series(details, dtype=pl.String)})
    return frame.with_columns(
        problem=pl.coalesce("problem", new.get_column("rule")), detail=pl.coalesce("detail", new.get_column("about"))
    )


def scored(items: Sequence[Item]) -> list[tuple[Any, ...]]:
    """Return response, model, score and reason of each answer of a row. Raises Problem for one that cannot be read."""
    measure = next((m for m in MEASURES if any(m(item) is not None for item in items)), MEASURES[0])
    return [
        (
            _response(item),
            _text(first_of(MODELS, item)),
            measure(item),
            _text(first_of(REASONS, item)),
        )
        for item in items
    ]


def _response(item: Item) -> list[dict[str, str | None]] | None:
    value = first_of(TEXTS, item)
    if value is None or value == "":
        return None
    return [{**turn, "role": turn["role"] or "assistant"} for turn in turns(value)]


def first_of(names: Sequence[str], item: Item) -> Any:
    """Return the first value under these names that is not null; None if there is none."""
    return next((item[name] for name in names if item.get(name) is not None), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def number(value: Any) -> float | None:
    """Return a number, also if it is written as text; None for anything else."""
    try:
        found = float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None
    return found if found is not None and abs(found) < float("inf") else None  # NaN compares as false


def _aspects(item: Item) -> float | None:
    """
    Return the mean of UltraFeedback's ratings by aspect. Its overall_score is known to be wrong in many rows: 10 was
    given for answers with the lowest ratings (see the card of argilla/ultrafeedback-binarized-preferences).
    """
    annotations = item.get("annotations")
    rated = annotations.values() if isinstance(annotations, dict) else ()
    ratings = [number(rating.get("Rating")) for rating in rated if isinstance(rating, dict)]
    known = [rating for rating in ratings if rating is not None]
    return sum(known) / len(known) if known else number(item.get("fine-grained_score"))


def _choice(item: Item) -> float | None:
    value = first_of(CHOICES, item)
    return float(value) if isinstance(value, bool | int) and value in (0, 1) else None


def _rank(item: Item) -> float | None:
    rank = number(first_of(RANKS, item))
    return None if rank is None else -rank


# What says how good an answer is, in the order in which it is looked for; higher is better.
MEASURES: tuple[Callable[[Item], float | None], ...] = (
    _aspects, lambda item: number(first_of(SCORES, item)), _rank, _choice,
)  # fmt: skip
