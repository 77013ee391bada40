"""
Rows with all answers to a prompt: a list of objects, lists side by side, numbered columns, or objects by model.

in : prompt, and what belongs to it: as for `preference`
     the answers, and their scores, ranks or choices, as in `LISTS`
out: ANSWERS; of several measures the first of `MEASURES` that any answer of the row has is used

A set is recognized by the names of its columns and by the first values in them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field
from curate.sources.formats import preference
from curate.sources.formats.answer_items import (
    MEASURES,
    MODELS,
    RANKS,
    SCORES,
    TEXTS,
    Item,
    first_of,
    scored,
    with_problems,
)  # fmt: skip
from curate.sources.formats.base import ANSWERS
from curate.sources.formats.comparison import add_problem, as_messages
from curate.sources.message import Problem
from curate.sources.raw_block import Columns
from curate.sources.readers import listed, messages_of

SAMPLE = 20  # first values that are looked at
OBJECTS = ("completions", "answers", "responses", "candidates", "generations", "outputs", "replies", "choices")
# Lists side by side: each answer has the same place in all of them.
LISTS_OF_TEXTS = ("generations", "responses", "completions", "answers", "candidates", "outputs", "generated_responses")
LISTS_OF = {
    "score": (
        "ratings",
        "scores",
        "rewards",
        "overall_scores",
        "reward_scores",
        "rm_scores",
        "all_rm_scores",
        "rating",
        "score",
    ),
    "rank": ("ranks",),
    "model": ("generation_models", "models", "model_names", "generators"),
    "rationale": ("rationales", "critiques"),
}
# response_1, response_2 …; score_1, score_2 …
NUMBERED = re.compile(r"^(response|answer|completion|output|generation|candidate)_?(\d{1,2}|[a-hA-H])$")

Values = Mapping[str, Any]  # of a row, by the names that `find` gives to its columns; they begin with "answers"
Reading = Callable[[Values], list[Item]]


@dataclass(frozen=True)
class AnswerList:
    """A shape of rows that have all answers to their prompt."""

    about: str
    find: Callable[[Columns], dict[str, str] | None]  # the columns of the answers, by name; None for other columns
    items: Reading
    prompt: Callable[[Values], str | None] | None = None  # the prompt, if it is not in a column of its own

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.about)

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the fields of the prompt and the answers; None for other columns."""
        if (found := self.find(columns)) is None:
            return None
        answers = {name: Field(column, "json", needed=False) for name, column in found.items()}
        if self.prompt:
            return answers
        rest = {name: values for name, values in columns.items() if name not in found.values()}
        prompt = preference.prompt_fields(rest)
        return prompt | answers | preference.lost_fields(columns) if "prompt" in prompt else None

    def to_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with their whole prompts."""
        if self.prompt:
            texts = [self.prompt(values) for values in self._values(frame)]
            frame = frame.with_columns(pl.Series("prompt", texts, pl.String)).with_columns(
                as_messages("prompt", "user", pl.Schema({"prompt": pl.String()}))
            )
        frame = preference.with_prompt(frame)
        return add_problem(frame, pl.col("prompt").list.len().fill_null(0) == 0, "missing_prompt", "there is no prompt")

    def to_answers(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the answers of each row."""
        rows: list[int] = []
        found: list[tuple[Any, ...]] = []
        problems: dict[int, Problem] = {}
        usable = frame.get_column("problem").is_null()
        for place, (ok, values) in enumerate(zip(usable, self._values(frame), strict=True)):
            try:
                answers = scored(self.items(values)) if ok else []
                if ok and not answers:
                    raise Problem("no_answer", "there are no answers")
            except Problem as problem:
                problems[place] = problem
                continue
            rows += [place] * len(answers)
            found += answers
        return _answers(frame, rows, found), with_problems(frame, problems)

    def _values(self, frame: pl.DataFrame) -> Iterator[Values]:
        names = [name for name in frame.columns if name.startswith("answers")]
        for texts in frame.select(names).iter_rows():
            yield {name: msgspec.json.decode(text) for name, text in zip(names, texts, strict=True) if text}


def _answers(frame: pl.DataFrame, rows: Sequence[int], found: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    responses, models, scores, reasons = zip(*found, strict=True) if found else ((), (), (), ())
    of_row = frame.select("source_row", "prompt")[list(rows)]
    return of_row.with_columns(
        set=pl.Series(rows, dtype=pl.UInt64),
        response=messages_of(responses).cast(MESSAGES),
        model=pl.Series(models, dtype=pl.String),
        score=pl.Series(scores, dtype=pl.Float64),
        reason=pl.Series(reasons, dtype=pl.String),
    ).select(list(ANSWERS))


def sample(values: Sequence[Any] | pl.Series) -> list[Any]:
    """Return the first values that are not null; a text that is a JSON list or object as what it holds."""
    known = listed(values.drop_nulls().head(SAMPLE)) if isinstance(values, pl.Series) else values
    return [_decoded(value) for value in islice((v for v in known if v is not None), SAMPLE)]


def _decoded(value: Any) -> Any:
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def _is_list_of(values: Sequence[Any] | pl.Series, kind: Any) -> bool:
    """Whether the first values are lists of the kind, at least one of which has two items."""
    known = sample(values)
    lists = all(
        isinstance(value, list) and all(isinstance(item, kind) for item in value if item is not None) for value in known
    )
    return lists and any(len(value) > 1 for value in known)


def _objects(columns: Columns) -> dict[str, str] | None:
    for name in (name for name in OBJECTS if name in columns and _is_list_of(columns[name], dict)):
        items = [item for value in sample(columns[name]) for item in value if item]
        if any(first_of(TEXTS, item) is not None for item in items) and any(
            m(i) is not None for m in MEASURES for i in items
        ):
            return {"answers": name}
    return None


def _parallel(columns: Columns) -> dict[str, str] | None:
    texts = next((n for n in LISTS_OF_TEXTS if n in columns and _is_list_of(columns[n], str | list)), None)
    found = {f"answers_{key}": name for key, names in LISTS_OF.items() for name in names[::-1] if name in columns}
    if texts is None or not {"answers_score", "answers_rank"} & set(found):
        return None
    return {"answers": texts} | found


def _by_model(columns: Columns) -> dict[str, str] | None:
    """Objects whose keys are models: the answers, and the scores."""
    texts = next((n for n in LISTS_OF_TEXTS if n in columns and _is_object_of(columns[n], str)), None)
    scores = next((n for n in LISTS_OF["score"] if n in columns and _is_object_of(columns[n], int | float)), None)
    return {"answers": texts, "answers_score": scores} if texts and scores else None


def _is_object_of(values: Sequence[Any] | pl.Series, kind: Any) -> bool:
    known = sample(values)
    return bool(known) and all(
        isinstance(v, dict) and all(isinstance(i, kind) for i in v.values() if i is not None) for v in known
    )


def _numbered(columns: Columns) -> dict[str, str] | None:
    """Columns response_1, response_2, … and score_1, score_2, …, or rank_1, … in place of scores."""
    found: dict[str, str] = {}
    for name in columns:
        if not (match := NUMBERED.match(name)):
            continue
        end = name.removeprefix(match[1])
        measure = next((f"{m}{end}" for m in (*SCORES, *RANKS) if f"{m}{end}" in columns), None)
        if measure is None:
            return None
        kind = "rank" if measure.removesuffix(end) in RANKS else "score"
        found |= {f"answers_text_{match[2]}": name, f"answers_{kind}_{match[2]}": measure}
        found |= {f"answers_model_{match[2]}": f"{m}{end}" for m in MODELS[::-1] if f"{m}{end}" in columns}
    return found if len(found) >= 4 else None


def _correct(columns: Columns) -> dict[str, str] | None:
    sides = {"answers_chosen": "chosen", "answers_rejected": "rejected"}
    lists = set(sides.values()) <= set(columns) and all(_are_texts(columns[name]) for name in sides.values())
    several = lists and any(_is_list_of(columns[name], str) for name in sides.values())
    return sides if several else None


def _reward_bench_2(columns: Columns) -> dict[str, str] | None:
    return _correct(columns) if {"num_correct", "num_incorrect", "subset"} <= set(columns) else None


def _are_texts(values: Sequence[Any] | pl.Series) -> bool:
    known = sample(values)
    return bool(known) and all(
        isinstance(v, str) for value in known for v in (value if isinstance(value, list) else [value])
    )


def _first_is_best(columns: Columns) -> dict[str, str] | None:
    known = {"instruction", "input", "output", "system", "history"}
    fits = {"instruction", "output"} <= set(columns) <= known and _is_list_of(columns["output"], str)
    return {"answers": "output"} if fits else None


def _of_objects(values: Mapping[str, Any]) -> list[Item]:
    return [item for item in _list(values.get("answers")) if isinstance(item, dict)]


def _of_parallel(values: Mapping[str, Any]) -> list[Item]:
    texts = _list(values.get("answers"))
    others = {name.removeprefix("answers_"): _list(value) for name, value in values.items() if name != "answers"}
    if uneven := [name for name, each in others.items() if each and len(each) != len(texts)]:
        raise Problem("uneven_lists", f"{len(texts)} answers, {len(others[uneven[0]])} values of {uneven[0]}")
    named = [
        dict(zip(others, row, strict=True))
        for row in zip(*(e or [None] * len(texts) for e in others.values()), strict=True)
    ]
    return [{"response": text, **item} for text, item in zip(texts, named or [{}] * len(texts), strict=True)]


def _of_models(values: Mapping[str, Any]) -> list[Item]:
    texts, scores = ({} if not isinstance(v := values.get(n), dict) else v for n in ("answers", "answers_score"))
    return [{"response": text, "model": model, "score": scores.get(model)} for model, text in texts.items()]


def _of_numbered(values: Mapping[str, Any]) -> list[Item]:
    items: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        _, kind, number_ = name.split("_", 2)
        items.setdefault(number_, {})["response" if kind == "text" else kind] = value
    return list(items.values())


def _of_correct(values: Mapping[str, Any]) -> list[Item]:
    sides = {"answers_chosen": 1, "answers_rejected": 0}
    return [{"response": text, "score": score} for name, score in sides.items() for text in _several(values.get(name))]


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else _list(value)


def _of_ordered(values: Mapping[str, Any]) -> list[Item]:
    return [{"response": text, "rank": place} for place, text in enumerate(_list(values.get("answers")))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


LISTS: dict[str, AnswerList] = {
    "reward_bench_2": AnswerList(
        "RewardBench 2: correct and incorrect answers in two lists. An eval set.", _reward_bench_2, _of_correct
    ),
    "correct_answers": AnswerList(
        "Better and worse answers in two lists: every one of the first is better than each of the others.",
        _correct, _of_correct,
    ),
    "answer_objects": AnswerList(
        "A list of objects with a text and a score, rank or choice: UltraFeedback, Nectar, Stack Exchange, NeMo-RL.",
        _objects, _of_objects,
    ),
    "answer_lists": AnswerList(
        "Lists of texts and of scores or ranks, side by side: distilabel's ratings.", _parallel, _of_parallel
    ),
    "answers_by_model": AnswerList("Objects of texts and of scores by model.", _by_model, _of_models),
    "numbered_answers": AnswerList(
        "Columns response_1, response_2, … with score_1, score_2, … or ranks.", _numbered, _of_numbered
    ),
    "ordered_answers": AnswerList(
        "LLaMA-Factory's older ranking form: in `output`, the first answer is the best.", _first_is_best, _of_ordered
    ),
}  # fmt: skip
