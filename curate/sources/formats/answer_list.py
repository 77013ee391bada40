"""What formats have in common whose rows have all answers to a prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field
from curate.sources.formats import preference
from curate.sources.formats.answer_items import Item, scored, with_problems
from curate.sources.formats.base import ANSWERS
from curate.sources.formats.comparison import add_problem, as_messages
from curate.sources.raw_block import Columns
from curate.sources.readers import Problem, listed, messages_of

SAMPLE = 20  # first values that are looked at
Values = Mapping[str, Any]  # of a row, by the names that `find` gives to its columns; they begin with "answers"
Reading = Callable[[Values], list[Item]]


@dataclass(frozen=True)
class AnswerList:
    """A shape of rows that have all answers to their prompt."""

    about: str
    find: Callable[[Columns], dict[str, str] | None]  # the columns of the answers, by name; None for other columns
    items: Reading
    prompt: Callable[[Values], str | None] | None = None  # the prompt, if it is not in a column of its own
    is_eval: bool = False

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
