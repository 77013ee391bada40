"""What columns are that match no format, and what can be done: a line that maps them, or why none can."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import polars as pl

from curate.sources.columns import kind_of
from curate.sources.formats.names import CONVERSATION, PROMPT
from curate.sources.raw_block import Columns
from curate.sources.readers import listed

SAMPLE = 50  # values that are looked at
FEW = 6  # different values of a column that labels rows
NEAR = 0.5  # share of a format's columns that have to be there for it to be named
CHOICES = re.compile(r"(winner|better|best|prefer|choice|chosen|verdict|label|vote|selected)", re.IGNORECASE)
SCORES = re.compile(r"(score|rating|rank|reward|quality|helpful|label|safe|good|is_)", re.IGNORECASE)
PLAIN_NAME = re.compile(r"[\w. -]+")  # in a shell's single quotes as it is


def advice(columns: Columns, marks: Mapping[str, Iterable[str]]) -> tuple[str, str]:
    """
    Return what the columns seem to be, and what to do; `marks` are the columns by which the formats are known.

        advice({"q": ["Which tea?", …], "good": […], "bad": […]}, {})
        # ("", "Name them: --columns prompt=q,chosen=good,rejected=bad if good is the better answer")
    """
    if images := [name for name in columns if _are(columns[name], _is_image)]:
        return f"{images[0]} holds images, and only text is supported", "Use a set without them"
    what, hint = _of_texts(columns)
    return f"{what}{_nearest(columns, marks)}", hint


def _of_texts(columns: Columns) -> tuple[str, str]:
    """Return what columns without images are, and what to do, by how many of them hold texts."""
    texts = [name for name in columns if kind_of(columns[name]) and not _labels(name, columns[name])]
    prompt = next((name for name in (*PROMPT, *CONVERSATION) if name in texts), texts[0] if texts else None)
    answers = [name for name in texts if name != prompt]
    if prompt is None:
        return (
            "none of them holds texts or messages",
            "If they lie inside objects, name them with a dot: data.prompt",
        )
    if not answers:
        return f"only {prompt} holds texts", (
            "Answers to these prompts can be generated: curate generate; objects are reached with a dot: data.prompt"
        )
    return _unpaired(columns, prompt, answers[0]) if len(answers) == 1 else _two(columns, prompt, *answers[:2])


def _unpaired(columns: Columns, prompt: str, answer: str) -> tuple[str, str]:
    score = next((name for name in columns if SCORES.search(name) and _is_measure(columns[name])), None)
    what = f"they are unpaired: one answer per row, in {answer}"
    if score is None:
        return what, "Nothing says how good it is; pairs need two answers, or a score per answer (curate judge)"
    return what, f"To pair the answers to one prompt by {score}: {_line(prompt=prompt, response=answer, score=score)}"


def _two(columns: Columns, prompt: str, a: str, b: str) -> tuple[str, str]:
    choice = next((name for name in columns if CHOICES.search(name) and _labels(name, columns[name])), None)
    if choice is None:
        line = _line(prompt=prompt, chosen=a, rejected=b)
        return "nothing says which answer is better", f"Name them: {line} if {a} is the better one"
    values = ", ".join(sorted({repr(value) for value in _first(columns[choice])})[:FEW])
    line = _line(prompt=prompt, response_a=a, response_b=b, winner=choice)
    return f"{choice} says which answer is better ({values})", (
        f"Name them: {line}, and which values mean the first and the second: "
        "--set 'source.winners={a: [VALUE], b: [VALUE]}'"
    )


def _nearest(columns: Columns, marks: Mapping[str, Iterable[str]]) -> str:
    """Return the known format that shares the most columns, and which are missing; empty where none is near."""
    shares = {name: (set(each), len(set(each) & set(columns)) / len(set(each))) for name, each in marks.items()}
    name, (wanted, share) = max(shares.items(), key=lambda item: item[1][1], default=("", (set(), 0.0)))
    if share < NEAR:
        return ""
    missing = sorted(wanted - set(columns))
    return f"; nearest format: {name}, " + (f"which has {', '.join(missing)}, too" if missing else "with other values")


def _line(**columns: str) -> str:
    pairs = ",".join(f"{field}={column}" for field, column in columns.items())
    plain = all(map(PLAIN_NAME.fullmatch, columns.values())) and "," not in "".join(columns.values())
    return (
        f"--columns '{pairs}'"
        if plain and " " in pairs
        else f"--columns {pairs}"
        if plain
        else "--columns FIELD=COLUMN,…"
    )


def _first(values: Sequence[Any] | pl.Series) -> list[Any]:
    if isinstance(values, pl.Series):
        return listed(values.drop_nulls().head(SAMPLE))
    return list(islice((value for value in values if value is not None), SAMPLE))


def _are(values: Sequence[Any] | pl.Series, check: Any) -> bool:
    first = _first(values)
    return bool(first) and all(map(check, first))


def _is_image(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_image, value))
    return isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)


def _labels(name: str, values: Sequence[Any] | pl.Series) -> bool:
    """Whether a column has a few short values that label rows; a text that occurs once may be an answer."""
    first = [str(value) for value in _first(values) if isinstance(value, str | int | float)]
    short = all(len(value) <= 30 and " " not in value for value in first)
    repeated = len(set(first)) < len(first) or CHOICES.search(name) is not None
    return bool(first) and short and repeated and len(set(first)) <= FEW


def _is_measure(values: Sequence[Any] | pl.Series) -> bool:
    first = _first(values)
    return bool(first) and all(isinstance(value, bool | int | float) for value in first)
