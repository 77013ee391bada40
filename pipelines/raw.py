"""The raw replies of judges about the answers to a prompt, from the stored replies of a run."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from curate.errors import InputError
from curate.recipe.load import load_recipe
from curate.rundir.result import Run
from curate.rundir.store import ANSWERS, RECIPE, REQUESTS
from curate.schema import CANDIDATES
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import Reply
from pipelines.judges.llm import LlmJudge, Question
from pipelines.judges.panel import judges_of


def raw_verdicts(run: Run, source: str, source_row: int) -> list[dict[str, Any]]:
    """
    Return what the judges of a run said about the answers to one prompt, word for word, in the order of asking.

    One dict per reply: judge | about: the models of the answers, in the order shown | reply: its text, null if it has
    none or is not stored | reasoning | problem: why it is no verdict, null if it is one. An unusable reply is followed
    by the one that was to repair it. Empty for judges that score in this process. Raises InputError for a run without
    stored replies.
    """
    section = load_recipe(run.folder / RECIPE).judge
    if section is None or not (run.folder / REQUESTS).is_file():
        raise InputError(f"{run.folder} holds no replies of judges: only the run that asked them has them")
    of_prompt = (pl.col("source") == source) & (pl.col("source_row") == source_row)
    candidates = pl.scan_parquet(run.folder / ANSWERS, glob=False).filter(of_prompt).collect().select(list(CANDIDATES))
    judges = [judge for judge in judges_of(section) if isinstance(judge, LlmJudge)]
    with RequestCache(run.folder / REQUESTS) as cache:
        return [said for judge in judges for said in _of_judge(judge, candidates, cache)]


def _of_judge(judge: LlmJudge, candidates: pl.DataFrame, cache: RequestCache) -> Iterator[dict[str, Any]]:
    models = dict(candidates.select("candidate_id", "model").iter_rows())
    for question in judge.asked(candidates):
        about = [models[name] for name in _shown(question)]
        reply = cache.get(judge.model.model, judge.request(question))
        yield _said(judge, question, about, reply)
        repair = judge.repair(question, reply) if reply else None
        if repair is not None and (repaired := cache.get(judge.model.model, repair)):
            yield _said(judge, question, about, repaired)


def _shown(question: Question) -> list[str]:
    """Return the ids of the answers in the order in which the judge saw them."""
    one, other = question.about["candidate_id"], question.about.get("other_id")
    return [one] if other is None else [one, other] if question.about["shown_first"] else [other, one]


def _said(judge: LlmJudge, question: Question, about: list[str], reply: Reply | None) -> dict[str, Any]:
    outcome = judge.read(question, reply) if reply else None
    return {
        "judge": judge.model.name,
        "about": about,
        "reply": reply and reply.text,
        "reasoning": reply and reply.reasoning,
        "problem": outcome.error if outcome else "no reply is stored",
    }
