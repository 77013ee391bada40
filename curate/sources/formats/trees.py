"""
Trees of messages, whose ranked siblings are answers to the path above them.

in : one message per row with the id of its parent (OpenAssistant), whole trees, or conversations with several answers
     per turn (PRISM)
out: ANSWERS; the prompt of a set is the path from the root
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from curate.schema import MESSAGES
from curate.sources.columns import Field, Kind
from curate.sources.formats.answer_items import CHOICES, MODELS, first_of, number, with_problems
from curate.sources.formats.base import ANSWERS, AnswerFormat
from curate.sources.message import Problem, message
from curate.sources.raw_block import Columns
from curate.sources.readers import messages_of

Turn = dict[str, str | None]
MAX_DEPTH = 200  # turns of a path; deeper ones are no conversations


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of a tree: the path above it, the set that it is compared in, and how good it is."""

    path: tuple[Turn, ...]
    turn: Turn
    siblings: object
    score: float | None
    model: str | None
    row: int


class MessageRows:
    """OpenAssistant: a message per row, with the id of its parent and a rank among its siblings."""

    MARKS = ("message_id", "parent_id", "text", "role", "rank")
    TREE = ("message_tree_id", "tree_id", "conversation_id", "thread_id")

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the fields of a message; None for other columns."""
        tree = next((name for name in self.TREE if name in columns), None)
        if tree is None or not set(self.MARKS) <= set(columns):
            return None
        kinds: dict[str, Kind] = {
            "message_id": "label",
            "parent_id": "label",
            "text": "text",
            "role": "label",
            "rank": "number",
        }
        found = {name: Field(name, kind, needed=name in ("message_id", "text")) for name, kind in kinds.items()}
        others = {name: Field(name, "label", needed=False) for name in ("model_name", "deleted") if name in columns}
        return found | others | {"tree": Field(tree, "label", needed=False)}

    def to_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the id of their tree as key."""
        return frame.with_columns(key="tree")

    def to_answers(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the assistant's messages, each after the path of its parents; siblings are a set."""
        rows = frame.select(pl.exclude("extra")).to_dicts()
        known = {row["message_id"]: row for row in rows if row["problem"] is None}
        problems: dict[int, Problem] = {}
        said: list[Said] = []
        for place, row in enumerate(rows):
            if row["problem"] is not None:
                continue
            try:
                said += _from_row(row, known)
            except Problem as problem:
                problems[place] = problem
        return answers_of(said), with_problems(frame, problems)


def _from_row(row: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> list[Said]:
    turn = _turn(row)
    if turn["role"] != "assistant":
        raise Problem("prompt_row", "it is a prompt; its answers are other rows")
    if row.get("deleted") == "true":
        raise Problem("deleted", "the source marks it as deleted")
    path: list[Turn] = []
    parent = row["parent_id"]
    while parent is not None:
        if (above := known.get(parent)) is None or len(path) >= MAX_DEPTH:
            raise Problem("no_parent", f"the message above it, {parent!r}, is missing")
        path.append(_turn(above))
        parent = above["parent_id"]
    rank = number(row["rank"])
    score = None if rank is None else -rank
    return [Said(tuple(path[::-1]), turn, row["parent_id"], score, row.get("model_name"), row["source_row"])]


def _turn(item: Mapping[str, Any]) -> Turn:
    return dict(message({"role": item.get("role"), "content": item.get("text", item.get("content"))}, 0))


@dataclass(frozen=True)
class Nested:
    """A shape of rows that hold a whole tree."""

    about: str
    column: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.about)

    def fields(self, columns: Columns) -> dict[str, Field] | None:
        """Return the field of the tree; None for other columns."""
        first = next((value for value in columns.get(self.column, ()) if value is not None), None)
        return {"tree": Field(self.column, "json")} if self._is_tree(first) else None

    def to_rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows as they are; the prompts are in the trees."""
        return frame

    def to_answers(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the answers of each tree; siblings are a set."""
        said: list[Said] = []
        problems: dict[int, Problem] = {}
        for place, (row, tree, problem) in enumerate(frame.select("source_row", "tree", "problem").rows()):
            if problem is not None:
                continue
            try:
                found = list(self.walk(msgspec.json.decode(tree), row))
                if not found:
                    raise Problem("no_answer", "the tree has no answers")
                said += found
            except Problem as error:
                problems[place] = error
        return answers_of(said), with_problems(frame, problems)

    def _is_tree(self, value: Any) -> bool:
        raise NotImplementedError

    def walk(self, tree: Any, row: int) -> Iterator[Said]:
        """Yield the answers of one tree. Raises Problem."""
        raise NotImplementedError


class Replies(Nested):
    """Messages with replies inside them."""

    def _is_tree(self, value: Any) -> bool:
        return isinstance(value, dict) and isinstance(value.get("replies"), list) and "text" in value

    def walk(self, tree: Any, row: int) -> Iterator[Said]:
        """Yield the assistant's replies, each after the path above it."""
        waiting: list[tuple[tuple[Turn, ...], dict[str, Any]]] = [((), tree)]
        while waiting:
            path, item = waiting.pop(0)
            if len(path) >= MAX_DEPTH:
                raise Problem("not_messages", f"the tree is deeper than {MAX_DEPTH} turns")
            here = (*path, _turn(item))
            replies = [reply for reply in item.get("replies") or () if isinstance(reply, dict)]
            for reply in replies:
                if (turn := _turn(reply))["role"] == "assistant":
                    rank = number(reply.get("rank"))
                    yield Said(
                        here,
                        turn,
                        (row, here_id(item), len(path)),
                        None if rank is None else -rank,
                        first_of(MODELS, reply),
                        row,
                    )
            waiting += [(here, reply) for reply in replies]


def here_id(item: Mapping[str, Any]) -> object:
    """Return what tells a message from all others of its tree."""
    return item.get("message_id") or id(item)


class Turns(Nested):
    """Turns in a list, of which the answers of one number are compared; the chosen ones go on."""

    def _is_tree(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and bool(value)
            and all(isinstance(v, dict) and {"turn", "role", "if_chosen"} <= set(v) for v in value)
        )

    def walk(self, tree: Any, row: int) -> Iterator[Said]:
        """Yield the answers of each turn, after those that were chosen before."""
        path: tuple[Turn, ...] = ()
        for number_ in dict.fromkeys(item["turn"] for item in tree):
            here = [(_turn(item), item) for item in tree if item["turn"] == number_]
            asked = tuple(turn for turn, _ in here if turn["role"] != "assistant")
            answers = [(turn, item) for turn, item in here if turn["role"] == "assistant"]
            scores = _consistent([item for _, item in answers])
            for (turn, item), score in zip(answers, scores, strict=True):
                yield Said((*path, *asked), turn, (row, number_), score, first_of(MODELS, item), row)
            chosen = next((turn for turn, item in answers if first_of(CHOICES, item)), None)
            if chosen is None:
                return
            path = (*path, *asked, chosen)


def _consistent(items: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return the scores; 1 and 0 where the answer that was chosen is not the one with the highest score."""
    scores = [number(item.get("score")) for item in items]
    best = [score for score, item in zip(scores, items, strict=True) if first_of(CHOICES, item)]
    others = [score for score, item in zip(scores, items, strict=True) if not first_of(CHOICES, item)]
    known = [score for score in (*best, *others) if score is not None]
    if len(known) == len(items) and len(best) == 1 and max(known) == known[0] > max(known[1:], default=-1.0):
        return scores
    return [float(bool(first_of(CHOICES, item))) if best else None for item in items]


def answers_of(said: Sequence[Said]) -> pl.DataFrame:
    """Return answers of trees as ANSWERS."""
    sets = {siblings: number_ for number_, siblings in enumerate(dict.fromkeys(each.siblings for each in said))}
    return pl.DataFrame(
        {
            "set": pl.Series([sets[each.siblings] for each in said], dtype=pl.UInt64),
            "source_row": pl.Series([each.row for each in said], dtype=pl.UInt64),
            "prompt": messages_of([each.path for each in said]).cast(MESSAGES),
            "response": messages_of([[each.turn] for each in said]).cast(MESSAGES),
            "model": pl.Series([each.model for each in said], dtype=pl.String),
            "score": pl.Series([each.score for each in said], dtype=pl.Float64),
            "reason": pl.Series([None] * len(said), dtype=pl.String),
        }
    ).select(list(ANSWERS))


TREES: dict[str, AnswerFormat] = {
    "message_rows": MessageRows(),
    "replies": Replies("OpenAssistant's trees: a prompt with replies inside it, ranked.", "prompt"),
    "answered_turns": Turns(
        "PRISM: the turns of a conversation, each with several scored answers.", "conversation_history"
    ),
}
