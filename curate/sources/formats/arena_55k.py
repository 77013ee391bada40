"""
The LMSYS competition's export of Chatbot Arena: turns as JSON lists of texts, and a vote in three columns of 0 and 1.

in : prompt, response_a, response_b: str, JSON lists with a text per turn (null where a model gave none)
     model_a, model_b: str | winner_model_a, winner_model_b, winner_tie: 0 or 1
out: PAIR; of several turns both sides have all of theirs

https://www.kaggle.com/competitions/lmsys-chatbot-arena
"""

from typing import Any

import msgspec
import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field
from curate.sources.formats import preference
from curate.sources.formats.comparison import add_problem, orient
from curate.sources.raw_block import Columns

TEXTS = ("prompt", "response_a", "response_b")
VOTES = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of the texts, models and votes; None for other columns."""
    if not {*TEXTS, *VOTES} <= set(columns):
        return None
    votes = {name: Field(name, "number", needed=False) for name in VOTES}
    models = {name: Field(name, "label", needed=False) for name in ("model_a", "model_b") if name in columns}
    return {name: Field(name, "text") for name in TEXTS} | votes | models


def to_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """Interleave questions and answers of each side, then orient by the vote."""
    sides: dict[str, list[list[dict[str, str]] | None]] = {"response_a": [], "response_b": []}
    for prompt, *answers in frame.select(TEXTS).iter_rows():
        for side, answer in zip(sides, answers, strict=True):
            sides[side].append(_turns(_texts(prompt), _texts(answer)))
    frame = frame.with_columns(
        *(pl.Series(side, rows, dtype=MESSAGES) for side, rows in sides.items()), prompt=pl.lit(None, MESSAGES)
    )
    broken = pl.any_horizontal(pl.col(list(sides)).is_null())
    frame = add_problem(frame, broken, "missing_response_a", "a turn has no text, or the texts are no JSON lists")
    votes = [pl.when(pl.col(name) == 1).then(pl.lit(side)) for name, side in VOTES.items()]
    return preference.to_pairs(orient(frame, pl.coalesce(votes)))


def _texts(text: str | None) -> list[Any]:
    try:
        found = msgspec.json.decode(text or "null")
    except (msgspec.DecodeError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def _turns(asked: list[Any], said: list[Any]) -> list[dict[str, str]] | None:
    """Return the conversation; None where a text is missing."""
    if not asked or len(asked) != len(said) or not all(isinstance(text, str) for text in (*asked, *said)):
        return None
    return [
        {"role": role, "content": text}
        for turn in zip(asked, said, strict=True)
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
