"""
Which columns of an input are used, and what the others hold: a column that may belong to the pair is named, so that
nothing is left out without a word. All of them are in `extra`.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import polars as pl

from curate.sources.columns import Field
from curate.sources.raw_block import Columns
from curate.sources.readers import CONTENT_KEYS, ROLE_KEYS, listed, literal

SAMPLE = 50  # values that are looked at
LEAST_WORDS = 4  # of a text that may belong to the pair, on average; ids and names are shorter
DISTINCT = 0.8  # share of different values from which each row has a text of its own
# Columns that say something about the pair, and are not part of it.
METADATA = frozenset((
    "id", "uuid", "uid", "prompt_id", "pair_id", "question_id", "conversation_id", "dialogue_id", "sample_id",
    "index", "idx", "source", "dataset", "subset", "split", "origin", "url", "link", "license", "category", "topic",
    "tags", "task", "domain", "language", "lang", "timestamp", "date", "created_at", "metadata", "meta", "author",
    "user", "annotator", "rationale", "rationales", "critique", "critiques", "feedback", "explanation",
    "explanations", "justification", "reason", "review", "comment", "comments", "judgment", "judgement", "evaluation",
    "evaluator", "principle", "raw_generation_responses", "rating", "ratings", "order", "title", "hash", "file",
    "path", "filename", "full_chosen_prompt", "full_rejected_prompt",
))  # fmt: skip
VERDICTS = frozenset((
    "winner", "preference", "preferred", "verdict", "better", "tie", "is_tie", "vote", "status", "label", "choice",
    "selected", "result", "annotation",
))  # fmt: skip
WORDS = frozenset((
    "a", "b", "tie", "model_a", "model_b", "response_a", "response_b", "both", "neither", "left", "right", "both_bad",
    "tie (bothbad)", "chosen", "rejected", "draw", "first", "second",
))  # fmt: skip


def unused(columns: Columns, fields: Mapping[str, Field]) -> dict[str, str]:
    """
    Return the columns that no field reads, each with what it may contribute to the pair; "" for metadata.

        unused({"prompt": [...], "schema": ["CREATE TABLE …", …], "id": [1, 2]}, fields)
        # {"schema": "a text of its own per row", "id": ""}
    """
    used = {field.column.partition(".")[0] for field in fields.values()}
    return {name: _holds(name, values) for name, values in columns.items() if name not in used}


def _holds(name: str, values: Sequence[Any] | pl.Series) -> str:
    first = values.drop_nulls().head(SAMPLE) if isinstance(values, pl.Series) else values
    known = listed(first) if isinstance(first, pl.Series) else [*islice((v for v in first if v is not None), SAMPLE)]
    known = [value for value in known if value not in ("", [], {})]
    if not known or name.lower() in METADATA:
        return ""
    if any(isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value) for value in known):
        return "bytes"
    if any(map(_is_talk, known)):
        return "messages"
    texts = [value for value in known if isinstance(value, str)]
    if name.lower() in VERDICTS or (texts and {text.strip().lower() for text in texts} <= WORDS):
        return "a verdict"
    if len(texts) == len(known) and _are_own(texts):
        return "a text of its own per row"
    return ""


def _is_talk(value: Any) -> bool:
    if isinstance(value, str):
        return literal(value) is not None
    if isinstance(value, dict):
        value = value.get("messages", value.get("conversations", [value]))
    first = value[0] if isinstance(value, list) and value else None
    return (
        isinstance(first, dict) and any(key in first for key in ROLE_KEYS) and any(key in first for key in CONTENT_KEYS)
    )


def _are_own(texts: Sequence[str]) -> bool:
    words = sum(len(text.split()) for text in texts) / len(texts)
    return words >= LEAST_WORDS and len(set(texts)) >= DISTINCT * len(texts)
