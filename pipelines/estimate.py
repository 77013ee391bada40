"""Before the first request: how many there will be, how many tokens, how much money."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb
from pathlib import Path

import polars as pl

from curate import stages
from curate.recipe import Recipe
from curate.sections import Generate, Judge, Model
from curate.store import Store
from pipelines import judge as judging
from pipelines.budget import Budget, tokens_of
from pipelines.cache import RequestCache
from pipelines.generate import variants
from pipelines.origin import answers_of, new_prompts, pairs_or_candidates
from pipelines.requests import Request

NEW_PROMPT = 60  # tokens of a prompt that is yet to be made, about
SHOWN_WITH_IT = 5  # as many prompts of that length are seeds and instructions


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one model will be asked in one stage. Tokens in are estimated by length, tokens out are the most allowed."""

    stage: str
    model: str
    requests: int
    known: int  # of these, answered before
    input_tokens: int
    output_tokens: int
    usd: float | None  # at most, without what is known; null = no price is known

    def __str__(self) -> str:
        """One line for a person."""
        known = f" ({self.known:,} answered before)" if self.known else ""
        usd = "price unknown" if self.usd is None else f"${self.usd:,.4f} at most"
        return (
            f"{self.stage}: {self.requests:,} requests to {self.model}{known}, about {self.input_tokens:,} tokens in, "
            f"{self.output_tokens:,} out at most, {usd}"
        )


def estimate(recipe: Recipe, out: Path | None = None) -> list[Estimate]:
    """
    What a recipe will ask, stage by stage, without asking anything or writing to `out`. Replies that are stored in
    `out` are counted as known. What depends on answers that are not there yet is taken at its longest.
    """
    path = out / "requests.sqlite" if out else None
    with tempfile.TemporaryDirectory() as folder, _cache(path) as cache:
        counted = Counted(recipe, cache)
        store = Store(Path(folder))
        if recipe.generate is None:
            blocks = _read(store, recipe, partial(pairs_or_candidates, recipe))
            return counted.judged(recipe.judge, map(answers_of, blocks)) if recipe.judge else []
        prompts = list(_read(store, recipe, new_prompts(recipe))) if recipe.source.paths else []
        new = counted.made()
        found = [*new, *counted.answered(recipe.generate, prompts)]
        return [*found, *(counted.judged_unseen(recipe.judge, recipe.generate, prompts) if recipe.judge else [])]


def _read(store: Store, recipe: Recipe, read: stages.Read) -> Iterator[pl.DataFrame]:
    stage = stages.read_rows(store, "origin", recipe.source, read)
    return (pl.read_parquet(part) for part in stage.parts())


def _cache(path: Path | None) -> RequestCache:
    return RequestCache(path if path and path.is_file() else ":memory:")


class Counted:
    """Estimates of one recipe."""

    def __init__(self, recipe: Recipe, cache: RequestCache) -> None:
        self._recipe, self._cache = recipe, cache
        self._budget = Budget(recipe.budget, models_of(recipe))

    def made(self) -> list[Estimate]:
        """Prompts that a model is to make."""
        section = self._recipe.prompts
        if section is None:
            return []
        requests = -(-12 * section.n // 10)  # one each and a fifth more: what repeats another is asked for again
        sent = requests * NEW_PROMPT * SHOWN_WITH_IT
        return [self._row("prompts", section.model, requests, 0, sent, requests * section.max_tokens)]

    def answered(self, section: Generate, blocks: Iterable[pl.DataFrame]) -> list[Estimate]:
        """Answers to prompts, the new ones among them counted at a usual length."""
        prompts = [p for block in blocks for p in block.filter(pl.col("problem").is_null()).get_column("prompt")]
        new = self._recipe.prompts.n if self._recipe.prompts else 0
        rows = []
        for model in section.models:
            mine = [variant for variant in variants(section) if variant.model is model]
            requests = [variant.request(prompt) for variant in mine for prompt in prompts]
            most = (model.max_tokens or section.max_tokens) * len(mine)
            more = (new * len(mine), NEW_PROMPT * new * len(mine), new * most)
            rows.append(self._asked("generate", model, requests, more))
        return rows

    def judged(self, section: Judge, candidates: Iterable[pl.DataFrame]) -> list[Estimate]:
        """Verdicts on answers that are there."""
        answers = list(candidates)
        return [
            self._asked("judge", model, [r for a in answers for r in judging.judge_requests(a, section, model)])
            for model in section.models
            if judging.is_llm(model)
        ]

    def judged_unseen(self, section: Judge, made: Generate, blocks: Sequence[pl.DataFrame]) -> list[Estimate]:
        """Verdicts on answers that are yet to come, each as long as it may be."""
        each = len(variants(made))
        lengths = [model.max_tokens or made.max_tokens for model in made.models]
        answer = sum(lengths) // len(lengths)
        sets = sum(block.get_column("problem").null_count() for block in blocks)
        asked = sum(tokens_of(p) for b in blocks for p in b.filter(pl.col("problem").is_null()).get_column("prompt"))
        new = self._recipe.prompts.n if self._recipe.prompts else 0
        words = sum(len(rubric.text) // 4 + 200 for rubric in judging.rubrics(section))
        per_set, shown = (each, 1) if section.method == "rubric" else (2 * comb(each, 2), 2)
        requests = (sets + new) * per_set
        sent = (asked + NEW_PROMPT * new) * per_set + requests * (words + shown * answer)
        return [
            self._row("judge", model, requests, 0, sent, requests * (model.max_tokens or section.max_tokens))
            for model in section.models
            if judging.is_llm(model)
        ]

    def _asked(
        self, stage: str, model: Model, requests: Sequence[Request], more: tuple[int, int, int] = (0, 0, 0)
    ) -> Estimate:
        known = [self._cache.get(request.key(model.model)) is not None for request in requests]
        left = [request for request, there in zip(requests, known, strict=True) if not there]
        sent = sum(tokens_of(request.messages) for request in left) + more[1]
        got = sum(int(request.params.get("max_tokens") or 0) for request in left) + more[2]
        return self._row(stage, model, len(requests) + more[0], sum(known), sent, got)

    def _row(self, stage: str, model: Model, requests: int, known: int, sent: int, got: int) -> Estimate:
        price = self._budget.prices.get(model.model)
        usd = price.of(sent, got) if price else None
        return Estimate(stage, model.model, requests, known, sent, got, usd)


def models_of(recipe: Recipe) -> list[Model]:
    """Every model that the recipe asks."""
    found = [recipe.prompts.model] if recipe.prompts else []
    found += recipe.generate.models if recipe.generate else []
    return [*found, *(recipe.judge.models if recipe.judge else [])]
