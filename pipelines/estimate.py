"""Estimate requests, tokens and cost of a recipe before the first request."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from curate.recipe.consent import check_consent
from curate.recipe.load import Recipe
from curate.rundir.store import REQUESTS, Store
from curate.schema import PROMPTS
from curate.sources.prompts import STAGED_PROMPTS
from curate.stages.read import Read, read_rows
from pipelines.clients.cache import RequestCache
from pipelines.estimator import Estimate, Estimator
from pipelines.inputs import answers_of, joined_prompts, new_prompts, pairs_or_candidates, seed_texts


def estimate(recipe: Recipe, out: Path | None = None) -> list[Estimate]:
    """
    Estimate the requests of a recipe, stage by stage, without sending any or writing to `out`. Replies stored in `out`
    count as known, and requests that depend on them are counted exactly; requests that depend on missing replies are
    estimated at their maximum.
    """
    check_consent(recipe)
    path = out / REQUESTS if out else None
    with tempfile.TemporaryDirectory() as folder, stored_replies(path) as cache:
        estimator = Estimator(recipe, cache)
        store = Store(Path(folder))
        if recipe.generate is None:
            rows = _read(store, recipe, pairs_or_candidates(recipe))
            return estimator.judged(recipe.judge, map(answers_of, rows)) if recipe.judge else []
        blocks = list(_read(store, recipe, new_prompts(recipe))) if recipe.source.paths else []
        found: list[Estimate] = []
        pending = 0
        if recipe.prompts is not None:
            read = pl.concat([pl.DataFrame(schema=STAGED_PROMPTS), *blocks])
            estimate, new = estimator.prompts(recipe.prompts, seed_texts(read))
            pending = 0 if new is not None else recipe.prompts.n
            blocks = [joined_prompts(recipe.prompts, read, pl.DataFrame(schema=PROMPTS) if new is None else new)]
            found.append(estimate)
        found += estimator.answered(recipe.generate, blocks, pending)
        if recipe.trained is not None:
            found.append(estimator.measured_unseen(recipe.trained, recipe.generate, blocks, pending))
        return found + (estimator.judged_unseen(recipe.judge, recipe.generate, blocks, pending) if recipe.judge else [])


def budget_remark(recipe: Recipe, estimates: Sequence[Estimate]) -> str | None:
    """Say that a run may, or will probably, stop at its budget; None where the budget is enough, or there is none."""
    budget = recipe.budget
    if budget is None:
        return None
    tokens = sum(line.input_tokens + line.output_tokens for line in estimates)
    if budget.tokens is not None and tokens > budget.tokens:
        return f"budget.tokens={budget.tokens:,} is below the {tokens:,} tokens of the estimate; the run may stop there"
    most = sum(line.usd or 0 for line in estimates)
    if budget.usd is None or most <= budget.usd:
        return None
    expected = sum(line.usd_expected or 0 for line in estimates)
    word = "will probably" if expected > budget.usd else "may"
    return f"budget.usd={budget.usd:g} is below the ${most:,.4f} of the estimate; the run {word} stop there"


def _read(store: Store, recipe: Recipe, read: Read) -> Iterator[pl.DataFrame]:
    stage = read_rows(store, "origin", recipe.source, read)
    return (pl.read_parquet(part, glob=False) for part in stage.parts())


def stored_replies(path: Path | None) -> RequestCache:
    """Return the cache of a folder; an empty one where there is none."""
    return RequestCache(path if path and path.is_file() else ":memory:")
