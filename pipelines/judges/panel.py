"""The judges of a recipe: which kinds there are, whether a section is sound, and the verdicts of all of its judges."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

from curate.errors import RecipeError, unknown
from curate.recipe.models import Judge as JudgeSection
from pipelines.clients.connect import KINDS, kind_of
from pipelines.clients.requests import SendRequests
from pipelines.judges.base import Judge
from pipelines.judges.heuristic import HeuristicJudge
from pipelines.judges.llm import PairwiseJudge, RubricJudge, rubrics_of
from pipelines.judges.reward import RewardJudge

# By the prefix of a model's line; the LLM judges, which any model of `connect.KINDS` can be, by judge.method.
JUDGES: dict[str, type[Judge]] = {
    "rubric": RubricJudge,
    "pairwise": PairwiseJudge,
    "reward:": RewardJudge,
    "heuristic": HeuristicJudge,
}


def judges_of(section: JudgeSection) -> list[Judge]:
    """The judges that a section names, in its order. Raises RecipeError for an unknown method or kind."""
    methods = [key for key, kind in JUDGES.items() if kind.sends_requests]
    if section.method not in methods:
        raise unknown("judge.method", section.method, methods)
    others = [key for key in JUDGES if key not in methods]
    kinds = [(kind_of(model, (*KINDS, *others)), model) for model in section.models]
    return [JUDGES[section.method if kind in KINDS else kind](model, section) for kind, model in kinds]


def check(section: JudgeSection, *, keys: bool = True) -> None:
    """
    Raise CurateError for rubrics that are missing or share a name, for judges that cannot be told apart, and for
    whatever a judge finds wrong with itself.
    """
    if twice := _repeated([rubric.name for rubric in rubrics_of(section)]):
        raise RecipeError(f"judge.aspects: two rubrics have the name {twice}; leave one out, or rename its file")
    if twice := _repeated([model.name for model in section.models]):
        raise RecipeError(f"judge.models: {twice} is listed twice; the judges of a panel are told apart by their name")
    if system := [model.name for model in section.models if model.system]:
        raise RecipeError(
            f"judge.models: {system[0]} has a system prompt; instructions for a judge belong in its rubric"
        )
    for judge in judges_of(section):
        judge.check(keys=keys)


def verdicts(candidates: pl.DataFrame, judges: Sequence[Judge], clients: Mapping[str, SendRequests]) -> pl.DataFrame:
    """
    in : CANDIDATES, whole sets; a function per model that sends requests, by the model's line
    out: VERDICTS of all judges, which work at the same time
    """

    def score(judge: Judge) -> pl.DataFrame:
        return judge.score(candidates, clients)

    with ThreadPoolExecutor(len(judges)) as pool:
        return pl.concat(pool.map(score, judges))


def comparing_methods() -> set[str]:
    """Methods whose verdicts compare two answers."""
    return {kind.method for kind in JUDGES.values() if kind.compares_pairs}


def shared_scale_methods() -> set[str]:
    """Methods whose scores mean the same from every judge, so that a panel's mean is meaningful."""
    return {kind.method for kind in JUDGES.values() if kind.shared_scale}


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)
