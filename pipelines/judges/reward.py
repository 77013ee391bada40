"""The judge `reward:MODEL`: a reward model (sequence classification with one output) in this process."""

from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from curate.errors import require
from pipelines.judges.base import LocalJudge

if TYPE_CHECKING:
    from pipelines.clients.reward import RewardModel


class RewardJudge(LocalJudge):
    """Scores of a reward model, whose weights are loaded for the first block."""

    method: ClassVar[str] = "reward"

    def check(self, *, keys: bool = True) -> None:
        """Raise MissingExtra where transformers is not installed."""
        if find_spec("transformers") is None:
            require("transformers", "train")

    def rate(self, answers: pl.DataFrame) -> pl.DataFrame:
        """One score per answer, without a reason."""
        rows = answers.select("prompt", "response").iter_rows()
        scores = self._reward.score([[*prompt, *response] for prompt, response in rows])
        return pl.DataFrame({"score": scores, "reason": None}, schema={"score": pl.Float64, "reason": pl.String})

    @cached_property
    def _reward(self) -> "RewardModel":
        from pipelines.clients.reward import RewardModel

        return RewardModel(self.model.model.partition(":")[2])
