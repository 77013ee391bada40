"""LLM judges: every answer rated alone by rubrics, or every two answers of a prompt compared in both orders."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import comb
from typing import Any, ClassVar

import polars as pl

from curate.errors import RecipeError, ServiceError
from curate.recipe.models import Judge as JudgeSection
from curate.recipe.models import Model
from pipelines.clients import connect
from pipelines.clients.requests import Messages, Reply, Request, SendRequests
from pipelines.judges.base import VERDICTS, Judge, Load
from pipelines.judges.parse import BadReply, Comparison, Rating, parse_comparison, parse_rating
from pipelines.judges.rubrics import (
    Rubric,
    comparison_messages,
    comparison_schema,
    load_rubric,
    rating_messages,
    rating_schema,
    repair_messages,
)

CUT_OFF = "it is longer than max_tokens and was cut off; be brief"  # sent to the judge in the request to repair
COMPARED = {"A": 1.0, "B": 0.0, "tie": 0.5}  # for the answer that is shown first
INSTRUCTION_TOKENS = 200  # around a rubric in a request, roughly
MAX_UNUSABLE = 10
MORE_ROOM = 2  # times the tokens, for a judge whose reasoning left none for the verdict
SHOWN_CHARS = 200  # of a reply in a message


def rubrics_of(section: JudgeSection) -> list[Rubric]:
    """The rubrics of a section: one per aspect, or a single one. Raises RecipeError for one that cannot be read."""
    if section.method == "pairwise":
        if section.aspects:
            raise RecipeError("judge.aspects: two answers are compared as a whole; use method rubric for aspects")
        return [load_rubric("pairwise" if section.rubric == "overall" else section.rubric)]
    return [load_rubric(name) for name in section.aspects or (section.rubric,)]


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a judge: the answers it is about, its messages, and how its reply is read."""

    about: Mapping[str, Any]  # candidate_id, source, source_row; for comparisons also other_id, shown_first
    messages: Messages
    read: Callable[[str], Rating | Comparison]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on a question, or the raw reply or error where there is none."""

    verdict: Rating | Comparison | None
    raw: str | None = None
    error: str | None = None


class LlmJudge(Judge):
    """Base of the judges that send a question per verdict to an LLM, and one request to repair an unusable reply."""

    sends_requests: ClassVar[bool] = True
    shared_scale: ClassVar[bool] = True

    def __init__(self, model: Model, section: JudgeSection, rubrics: Sequence[Rubric] = ()) -> None:
        """`rubrics`: in place of those that the section names."""
        self.model, self.section = model, section
        self.rubrics = list(rubrics) or rubrics_of(section)
        self.params = self._params()
        self.max_unusable: float = MAX_UNUSABLE  # verdicts in a row, after which it is not asked any more
        self._unusable_in_a_row = 0

    @abstractmethod
    def questions(self, candidates: pl.DataFrame) -> Iterator[Question]:
        """The questions about CANDIDATES without null responses."""

    @abstractmethod
    def rows(self, verdict: Rating | Comparison | None, about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """The score columns of VERDICTS for one outcome, one dict per row."""

    @abstractmethod
    def response_format(self) -> dict[str, Any]:
        """The JSON schema of a reply."""

    def check(self, *, keys: bool = True) -> None:
        """Raise CurateError for a model that cannot be asked."""
        connect.check(self.model, keys=keys)

    def requests(self, candidates: pl.DataFrame) -> list[Request]:
        """One request per question; each unusable reply adds another one."""
        return [self.request(question) for question in self.asked(candidates)]

    def expected(self, sets: int, prompt_tokens: int, answers: int, answer_tokens: int) -> Load:
        """One request per answer, or two per pair of answers; replies at their longest."""
        per_set, shown = (2 * comb(answers, 2), 2) if self.compares_pairs else (answers, 1)
        instructions = sum(len(rubric.text) // 4 + INSTRUCTION_TOKENS for rubric in self.rubrics)
        requests = sets * per_set
        output = requests * (self.model.max_tokens or self.section.max_tokens)
        return Load(requests, prompt_tokens * per_set + requests * (instructions + shown * answer_tokens), output)

    def score(self, candidates: pl.DataFrame, clients: Mapping[str, SendRequests]) -> pl.DataFrame:
        """Return VERDICTS. After an unusable reply one repair request is sent; if it fails too, the score is null."""
        asked = self.asked(candidates)
        replies = clients[self.model.model]([self.request(question) for question in asked])
        outcomes = [self.read(question, reply) for question, reply in zip(asked, replies, strict=True)]
        rows = [
            {
                "judge": self.model.name,
                "method": self.method,
                "raw": outcome.raw,
                "error": outcome.error,
                "reason": outcome.verdict.reason if outcome.verdict else None,
                **question.about,
                **scores,
            }
            for question, outcome in zip(asked, outcomes, strict=True)
            for scores in self.rows(outcome.verdict, question.about)
        ]
        return pl.DataFrame(rows, schema=VERDICTS)

    def asked(self, candidates: pl.DataFrame) -> list[Question]:
        """The questions about CANDIDATES, in the order of their verdicts."""
        return list(self.questions(candidates.filter(pl.col("response").is_not_null())))

    def _params(self) -> dict[str, Any]:
        model, section = self.model, self.section
        temperature = 0.0 if model.temperature is None else model.temperature
        params: dict[str, Any] = {"temperature": temperature, "max_tokens": model.max_tokens or section.max_tokens}
        if model.top_p is not None:
            params["top_p"] = model.top_p
        if section.seed is not None:
            params["seed"] = section.seed
        if section.structured:
            params["response_format"] = self.response_format()
        return params | model.extra

    def request(self, question: Question) -> Request:
        """The request for one verdict."""
        return Request(question.messages, self.params, then=partial(self._after_first, question))

    def repair(self, question: Question, reply: Reply) -> Request | None:
        """The request that repairs an unusable reply, whose own reply then counts, whatever it is; None = no need."""
        if reply.text is None and reply.finish_reason == "length":  # it thought for too long
            first = self.request(question)
            return first.with_room(MORE_ROOM * first.max_tokens)
        outcome = self.read(question, reply)
        if reply.text is None or outcome.verdict is not None:
            return None
        messages = repair_messages(question.messages, reply.text, outcome.error or "")
        return Request(messages, self.params, 1)

    @staticmethod
    def read(question: Question, reply: Reply) -> Outcome:
        """Read a reply: its verdict, or why it is none."""
        if reply.text is None:  # without a finish reason the request failed; with one the judge had its say
            return Outcome(None, "" if reply.is_final else None, reply.error)
        if reply.finish_reason == "length":  # even where the JSON looks complete: more may have followed
            return Outcome(None, reply.text, CUT_OFF)
        try:
            return Outcome(question.read(reply.text))
        except BadReply as bad:
            return Outcome(None, reply.text, str(bad))

    def _after_first(self, question: Question, reply: Reply) -> Request | None:
        repair = self.repair(question, reply)
        if repair is None:
            return self._after_last(question, reply)
        # A stored reply that repairs nothing is asked for again by the next start.
        return replace(
            repair,
            then=partial(self._after_last, question),
            accepts=lambda stored: self.read(question, stored).verdict is not None,
        )

    def _after_last(self, question: Question, reply: Reply) -> Request | None:
        """Count verdicts that cannot be used. Raises ServiceError after so many in a row that more would only cost."""
        outcome = self.read(question, reply)
        if outcome.verdict is not None:
            self._unusable_in_a_row = 0
        elif outcome.raw is not None:
            self._unusable_in_a_row += 1
        if self._unusable_in_a_row >= self.max_unusable:
            raise ServiceError(
                f"{self.model.name} gave {self.max_unusable:g} verdicts in a row that cannot be used. The last reply "
                f"was {quoted(outcome.raw or '')}: {outcome.error}. Verdicts so far are kept; the same command asks "
                f"for the others again. Try another judge{', or judge.structured=true' * (not self.section.structured)}"
            )
        return None


class RubricJudge(LlmJudge):
    """Rates each answer alone, by every aspect, on one scale."""

    method: ClassVar[str] = "rubric"
    compares_pairs: ClassVar[bool] = False

    def questions(self, candidates: pl.DataFrame) -> Iterator[Question]:
        """One question per answer."""
        names, scale = [rubric.name for rubric in self.rubrics], self.section.scale
        for row in candidates.iter_rows(named=True):
            yield Question(
                {key: row[key] for key in ("candidate_id", "source", "source_row")},
                rating_messages(self.rubrics, row["prompt"], row["response"], scale=scale),
                lambda reply: parse_rating(reply, names, scale),
            )

    def rows(self, verdict: Rating | Comparison | None, about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """One row per aspect."""
        for rubric in self.rubrics:
            rating = verdict.ratings[rubric.name] if isinstance(verdict, Rating) else None
            yield {"rubric": rubric.name, "rubric_hash": rubric.hash, "aspect": rubric.name, "score": rating}

    def response_format(self) -> dict[str, Any]:
        """A rating per aspect, and the reason."""
        return rating_schema([rubric.name for rubric in self.rubrics], self.section.scale)


class PairwiseJudge(LlmJudge):
    """Compares every two answers of a prompt, each of them shown first once."""

    method: ClassVar[str] = "pairwise"
    compares_pairs: ClassVar[bool] = True

    def questions(self, candidates: pl.DataFrame) -> Iterator[Question]:
        """Two questions for every two answers of a set that differ."""
        for (source, source_row), rows in candidates.group_by("source", "source_row", maintain_order=True):
            for one, two in combinations(rows.to_dicts(), 2):
                if one["response"] == two["response"]:  # frequent at low temperatures
                    continue
                for first, second in ((one, two), (two, one)):
                    about = {"candidate_id": one["candidate_id"], "other_id": two["candidate_id"]}
                    yield Question(
                        {**about, "shown_first": first is one, "source": source, "source_row": source_row},
                        comparison_messages(self.rubrics[0], one["prompt"], first["response"], second["response"]),
                        parse_comparison,
                    )

    def rows(self, verdict: Rating | Comparison | None, about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """One row, seen from the answer in `candidate_id`."""
        score = None
        if isinstance(verdict, Comparison):
            score = COMPARED[verdict.better] if about["shown_first"] else 1 - COMPARED[verdict.better]
        rubric = self.rubrics[0]
        yield {"rubric": rubric.name, "rubric_hash": rubric.hash, "score": score}

    def response_format(self) -> dict[str, Any]:
        """A, B or tie, and the reason."""
        return comparison_schema()


def quoted(text: str) -> str:
    """Return the beginning of a reply on one line, in quotation marks."""
    line = " ".join(text.split())
    return f"“{line[:SHOWN_CHARS]}…”" if len(line) > SHOWN_CHARS else f"“{line}”"
