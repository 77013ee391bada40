"""What every kind of judge provides, and the table of verdicts that judges fill."""

import threading
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Protocol

import polars as pl

from curate.recipe.models import Judge as JudgeSection
from curate.recipe.models import Model
from pipelines.clients.requests import Request, SendRequests

# One row per verdict. A judge that gave no usable score leaves a null score, with the raw reply or the error.
VERDICTS = pl.Schema(
    {
        "judge": pl.String(),
        "method": pl.String(),  # rubric, pairwise, reward, heuristic, or that of another kind
        "rubric": pl.String(),
        "rubric_hash": pl.String(),
        "source": pl.String(),
        "source_row": pl.UInt64(),
        "candidate_id": pl.String(),
        "other_id": pl.String(),  # the answer it is compared with; null for ratings
        "shown_first": pl.Boolean(),  # candidate_id was shown as A; null for ratings
        "aspect": pl.String(),  # null for comparisons
        "score": pl.Float64(),  # a rating; for comparisons 1 = candidate_id is better, 0 = other_id, 0.5 = tie
        "reason": pl.String(),
        "raw": pl.String(),  # the reply, where it was not usable
        "error": pl.String(),
    }
)
NULL_IN_RATINGS = ("rubric", "rubric_hash", "other_id", "shown_first", "raw", "error")  # of local judges


class Load(NamedTuple):
    """An upper estimate of what a judge sends for answers that do not exist yet."""

    requests: int
    input_tokens: int
    output_tokens: int


class Judge(Protocol):
    """One judge of a recipe, created from a line of `judge.models` and its section."""

    method: ClassVar[str]  # `method` in VERDICTS, tables and cards
    sends_requests: ClassVar[bool]  # false: scores in this process and costs nothing
    compares_pairs: ClassVar[bool]  # true: verdicts are comparisons, with `other_id` and `shown_first`
    shared_scale: ClassVar[bool]  # scores of several judges of this method may be averaged as they are

    model: Model

    def __init__(self, model: Model, section: JudgeSection) -> None: ...

    def check(self, *, keys: bool = True) -> None:
        """
        Raise CurateError for whatever would fail later. Sends nothing and loads no weights. With `keys=False` the keys
        of endpoints may still be missing.
        """

    def requests(self, candidates: pl.DataFrame) -> list[Request]:
        """The first requests about CANDIDATES; empty for a judge that sends none."""

    def expected(self, sets: int, prompt_tokens: int, answers: int, answer_tokens: int) -> Load:
        """What `sets` prompts of `prompt_tokens` in all lead to, with `answers` of `answer_tokens` to each."""

    def score(self, candidates: pl.DataFrame, clients: Mapping[str, SendRequests]) -> pl.DataFrame:
        """
        in : CANDIDATES, whole sets; a function per model that sends requests, by the model's line
        out: VERDICTS on the answers whose response is not null
        """


class LocalJudge(Judge):
    """
    Base of judges that rate each answer in this process. A subclass sets `method` and implements `check` and `rate`.

    Its judges take one block at a time: several would only compete for the same cores.
    """

    sends_requests: ClassVar[bool] = False
    compares_pairs: ClassVar[bool] = False
    shared_scale: ClassVar[bool] = False

    def __init__(self, model: Model, section: JudgeSection) -> None:
        self.model, self.section = model, section
        self._lock = threading.Lock()

    @abstractmethod
    def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
        """
        in : CANDIDATES without null responses
        out: score (f64) and reason (str), row for row; a null score means that the answer could not be rated
        """

    def requests(self, candidates: pl.DataFrame) -> list[Request]:
        """Nothing is sent."""
        return []

    def expected(self, sets: int, prompt_tokens: int, answers: int, answer_tokens: int) -> Load:
        """Nothing is sent."""
        return Load(0, 0, 0)

    def score(self, candidates: pl.DataFrame, clients: Mapping[str, SendRequests]) -> pl.DataFrame:
        """VERDICTS, one per answer."""
        answers = candidates.filter(pl.col("response").is_not_null())
        with self._lock:
            rated = self.rate(answers)
        return (
            answers.select("source", "source_row", "candidate_id")
            .with_columns(
                rated.get_column("score"),
                rated.get_column("reason"),
                judge=pl.lit(self.model.name),
                method=pl.lit(self.method),
                aspect=pl.lit("overall"),
                **{
                    name: pl.lit(None, VERDICTS[name]) for name in ("rubric", "rubric_hash", "other_id", "raw", "error")
                },
                shown_first=pl.lit(None, pl.Boolean),
            )
            .match_to_schema(VERDICTS)
        )
