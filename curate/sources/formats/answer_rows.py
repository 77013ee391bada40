"""
Rows with one answer each: the answers to one prompt are compared, wherever their rows are.

in : prompt, and what belongs to it: as for `preference`; or a conversation that ends with the answer
     the answer, and a score, a rank, or a label (true or false, 1 or 0, good or bad)
out: ANSWERS; the answers to equal prompts are a set
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from curate.schema import canonical
from curate.sources.columns import Field
from curate.sources.formats import preference
from curate.sources.formats.answer_items import MODELS, RANKS, REASONS, SCORES
from curate.sources.formats.base import ANSWERS
from curate.sources.formats.comparison import add_problem, with_role
from curate.sources.formats.names import CONVERSATION, PROMPT
from curate.sources.raw_block import Columns
from curate.sources.readers import listed, read_label, read_number

SAMPLE = 100  # values of a score that are looked at
ANSWER = ("response", "completion", "answer", "output", "generation", "reply")
LABELS = ("label", "kto_tag", "is_chosen", "chosen", "thumbs_up", "is_preferred")
GOOD = {
    **dict.fromkeys(("true", "1", "good", "desirable", "chosen", "thumbs_up", "upvote"), 1.0),
    **dict.fromkeys(("false", "0", "bad", "undesirable", "rejected", "thumbs_down", "downvote"), 0.0),
}


@dataclass(frozen=True)
class AnswerRows:
    """A shape of rows with one answer each. The measure: a score, a rank (less is better), or a label of GOOD."""

    about: str
    measure: Literal["score", "rank", "label"]
    named: tuple[str, ...]
    marks: tuple[str, ...] = ()  # other columns that the shape has

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.about)

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the fields of the prompt, the answer and its measure; None for other columns."""
        measure = next((name for name in self.named if name in columns), None)
        if measure is None or not set(self.marks) <= set(columns) or not self._fits(columns[measure]):
            return None
        answer = next((name for name in ANSWER if name in columns), None)
        rest = {name: values for name, values in columns.items() if name not in (answer, measure)}
        prompt = preference.prompt_fields(rest, tuple(name for name in PROMPT if name != "input" or answer != "output"))
        if answer is None and (said := next((n for n in CONVERSATION if n in rest), None)) and len(prompt) == 1:
            found = {"prompt": Field(said, "turns")}
        elif answer is not None and "prompt" in prompt:
            found = prompt | {"response": Field(answer, "turns")}
        else:
            return None
        others = {"model": MODELS, "reason": REASONS}
        known = {name: next((n for n in names if n in columns), None) for name, names in others.items()}
        found |= {name: Field(column, "label", needed=False) for name, column in known.items() if column}
        kind: Literal["label", "number"] = "label" if self.measure == "label" else "number"
        return found | {"measure": Field(measure, kind, needed=False)} | preference.lost_fields(columns)

    def to_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with their whole prompts, which are the keys, and the answers as messages."""
        turns = pl.col("prompt").list
        if "response" not in frame.columns:  # the last turn of a conversation
            ends = (turns.last().struct.field("role") == "assistant") & (turns.len() > 1)
            problem = ("no_answer", "it does not end with an answer")
            frame = add_problem(frame, ~ends.fill_null(value=False), *problem)
            frame = frame.with_columns(response=turns.tail(1), prompt=turns.head(turns.len() - 1))
        frame = preference.with_prompt(frame.with_columns(with_role("response", "assistant")))
        key = pl.when(turns.len() > 0).then(canonical("prompt"))
        return frame.with_columns(key=pl.when(pl.col("problem").is_null()).then(key))

    def to_answers(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows as answers, in sets of equal prompts."""
        measure = pl.col("measure")
        if self.measure == "label":
            word = measure.str.strip_chars().str.to_lowercase()
            measure = word.replace_strict(GOOD, default=None, return_dtype=pl.Float64)
        none = pl.lit(None, pl.String)
        answers = frame.filter(pl.col("problem").is_null()).select(
            "source_row",
            "prompt",
            "response",
            set=pl.col("group"),
            model=pl.col("model") if "model" in frame.columns else none,
            score=-measure if self.measure == "rank" else measure,
            reason=pl.col("reason") if "reason" in frame.columns else none,
        )
        return answers.select(list(ANSWERS)), frame

    def _fits(self, values: Sequence[Any] | pl.Series) -> bool:
        """Return whether the first values are all of the measure's kind, and there is one."""
        known = (
            values.drop_nulls().head(SAMPLE) if isinstance(values, pl.Series) else [v for v in values if v is not None]
        )
        first = listed(known) if isinstance(known, pl.Series) else known[:SAMPLE]
        if not first or any(isinstance(value, list | dict) for value in first):
            return False
        if self.measure == "label":
            return bool(read_label(first)[0].str.strip_chars().str.to_lowercase().is_in(list(GOOD)).all())
        return read_number(first)[0].null_count() == 0


HELPFULNESS = ("correctness", "coherence", "complexity", "verbosity")
ROWS: Mapping[str, AnswerRows] = {
    "helpsteer": AnswerRows(
        "HelpSteer and HelpSteer2: a response per row, rated by aspect; pairs are formed by helpfulness.",
        "score", ("helpfulness",), HELPFULNESS,
    ),
    "labelled_answers": AnswerRows(
        "Unpaired preferences (KTO): an answer per row, good or bad.", "label", LABELS
    ),
    "scored_answers": AnswerRows("An answer per row, with a score.", "score", SCORES),
    "ranked_answers": AnswerRows("An answer per row, with a rank, of which the lowest is the best.", "rank", RANKS),
}  # fmt: skip
