"""Before the first request: how many there will be, how many tokens, how much money."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curate.recipe.load import Recipe
from curate.recipe.models import Generate, Judge, Model, Prompts
from curate.rundir.store import Store
from curate.schema import PROMPTS
from curate.sources.prompts import STAGED_PROMPTS
from curate.stages.read import Read, read_rows
from pipelines.clients.budget import Budget, tokens_of
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import Reply, Request, SendRequests
from pipelines.generate import generate, variants
from pipelines.inputs import answers_of, joined_prompts, new_prompts, pairs_or_candidates, seed_texts
from pipelines.judges import panel
from pipelines.judges.base import Judge as AnyJudge
from pipelines.prompts.make import make_prompts

NEW_PROMPT_TOKENS = 60  # tokens of a prompt that is yet to be made, about
PROMPTS_SHOWN = 5  # as many prompts of that length are seeds and instructions


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one model will be asked in one stage. Tokens in are estimated by length, tokens out are the most allowed."""

    stage: str
    model: str
    requests: int
    known: int  # of these, answered before
    input_tokens: int  # of those that are not known
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
    `out` are counted as known, and what they lead to is counted as it is; what depends on replies that are not there
    yet is taken at its most.
    """
    path = out / "requests.sqlite" if out else None
    with tempfile.TemporaryDirectory() as folder, _cache(path) as cache:
        counted = Counted(recipe, cache)
        store = Store(Path(folder))
        if recipe.generate is None:
            rows = _read(store, recipe, pairs_or_candidates(recipe))
            return counted.judged(recipe.judge, map(answers_of, rows)) if recipe.judge else []
        blocks = list(_read(store, recipe, new_prompts(recipe))) if recipe.source.paths else []
        found: list[Estimate] = []
        still_new = 0
        if recipe.prompts is not None:
            read = pl.concat([pl.DataFrame(schema=STAGED_PROMPTS), *blocks])
            made, new = counted.made(recipe.prompts, seed_texts(read))
            still_new = 0 if new is not None else recipe.prompts.n
            blocks = [joined_prompts(recipe.prompts, read, pl.DataFrame(schema=PROMPTS) if new is None else new)]
            found.append(made)
        found += counted.answered(recipe.generate, blocks, still_new)
        return found + (counted.judged_unseen(recipe.judge, recipe.generate, blocks, still_new) if recipe.judge else [])


def models_of(recipe: Recipe) -> list[Model]:
    """Every model that the recipe names."""
    found = [recipe.prompts.model] if recipe.prompts else []
    found += recipe.generate.models if recipe.generate else []
    return [*found, *(recipe.judge.models if recipe.judge else [])]


def requested_models(recipe: Recipe) -> list[Model]:
    """Of these, the ones that receive requests."""
    found = [recipe.prompts.model] if recipe.prompts else []
    found += recipe.generate.models if recipe.generate else []
    return [*found, *(judge.model for judge in _requesting(recipe.judge))]


def _requesting(section: Judge | None) -> list[AnyJudge]:
    return [judge for judge in panel.judges_of(section) if judge.sends_requests] if section else []


def _read(store: Store, recipe: Recipe, read: Read) -> Iterator[pl.DataFrame]:
    stage = read_rows(store, "origin", recipe.source, read)
    return (pl.read_parquet(part) for part in stage.parts())


def _cache(path: Path | None) -> RequestCache:
    return RequestCache(path if path and path.is_file() else ":memory:")


class Counted:
    """Estimates of one recipe."""

    def __init__(self, recipe: Recipe, cache: RequestCache) -> None:
        self._cache = cache
        self._prices = Budget(recipe.budget, requested_models(recipe)).prices

    def made(self, section: Prompts, seeds: Sequence[str]) -> tuple[Estimate, pl.DataFrame | None]:
        """Prompts that a model is to make, and these prompts where all replies are there already."""
        known = 0

        def ask(requests: Sequence[Request]) -> list[Reply]:
            nonlocal known
            replies = [self._cache.get(request.key(section.model.model)) for request in requests]
            there = [reply for reply in replies if reply is not None]
            known += len(there)
            if len(there) < len(replies):
                raise _NotKnown
            return there

        try:
            made = make_prompts(section, seeds, ask)
        except _NotKnown:
            return self.to_make(section, known), None
        return self._row("prompts", section.model, _Sum(known, known)), made.prompts

    def to_make(self, section: Prompts, known: int = 0) -> Estimate:
        """Prompts that a model is to make: one each and a fifth more, as what repeats another is asked for again."""
        requests = max(-(-12 * section.n // 10), known)
        left = requests - known
        most = left * (section.model.max_tokens or section.max_tokens)
        return self._row(
            "prompts", section.model, _Sum(requests, known, left * NEW_PROMPT_TOKENS * PROMPTS_SHOWN, most)
        )

    def answered(self, section: Generate, blocks: Iterable[pl.DataFrame], new: int = 0) -> list[Estimate]:
        """Answers to prompts, and to `new` ones that are yet to be made."""
        wanted = variants(section)
        sums = {model.model: _Sum() for model in section.models}
        for prompt in (prompt for block in blocks for prompt in _usable(block).get_column("prompt").to_list()):
            for variant in wanted:
                sums[variant.model.model].add(variant.request(prompt), variant.model, self._cache)
        for variant in wanted:
            most = new * variant.request([]).max_tokens
            sums[variant.model.model].more(new, new * NEW_PROMPT_TOKENS, most)
        return [self._row("generate", model, sums.pop(model.model)) for model in section.models if model.model in sums]

    def judged(self, section: Judge, candidates: Iterable[pl.DataFrame]) -> list[Estimate]:
        """Verdicts on answers that exist."""
        judges = _requesting(section)
        sums = {judge.model.model: _Sum() for judge in judges}
        self._judge(judges, candidates, sums)
        return [self._row("judge", judge.model, sums[judge.model.model]) for judge in judges]

    def judged_unseen(
        self, section: Judge, made: Generate, blocks: Sequence[pl.DataFrame], new: int = 0
    ) -> list[Estimate]:
        """Verdicts on the answers to prompts: known answers as they are, all others at their longest."""
        judges = _requesting(section)
        sums = {judge.model.model: _Sum() for judge in judges}
        clients = {model.model: self._stored(model) for model in made.models}
        wanted = variants(made)
        answer_tokens = sum(variant.request([]).max_tokens for variant in wanted) // len(wanted)
        sets, prompt_tokens = new, new * NEW_PROMPT_TOKENS
        for block in blocks:
            answers = generate(_usable(block), made, clients)
            whole = pl.col("response").is_not_null().all().over("source", "source_row")
            self._judge(judges, [answers.filter(whole)], sums)
            prompts = answers.filter(~whole).unique(["source", "source_row"]).get_column("prompt").to_list()
            sets, prompt_tokens = sets + len(prompts), prompt_tokens + sum(map(tokens_of, prompts))
        for judge in judges:
            sums[judge.model.model].more(*judge.expected(sets, prompt_tokens, len(wanted), answer_tokens))
        return [self._row("judge", judge.model, sums[judge.model.model]) for judge in judges]

    def _judge(
        self, judges: Sequence[AnyJudge], candidates: Iterable[pl.DataFrame], sums: Mapping[str, "_Sum"]
    ) -> None:
        for block in candidates:
            for judge in judges:
                for request in judge.requests(block):
                    sums[judge.model.model].add(request, judge.model, self._cache)

    def _stored(self, model: Model) -> SendRequests:
        """Stands for the model: what it has said before, and nothing else."""

        def ask(requests: Sequence[Request]) -> list[Reply]:
            found = (self._cache.get(request.key(model.model)) for request in requests)
            return [reply or Reply(None, error="not asked yet") for reply in found]

        return ask

    def _row(self, stage: str, model: Model, found: "_Sum") -> Estimate:
        price = self._prices.get(model.model)
        usd = price.of(found.sent, found.got) if price else None
        return Estimate(stage, model.name, found.requests, found.known, found.sent, found.got, usd)


@dataclass(slots=True)
class _Sum:
    """Requests to one model, those that are known, and the tokens of the others."""

    requests: int = 0
    known: int = 0
    sent: int = 0
    got: int = 0

    def add(self, request: Request, model: Model, cache: RequestCache) -> None:
        """One request more."""
        self.requests += 1
        if cache.get(request.key(model.model)) is not None:
            self.known += 1
        else:
            self.sent += tokens_of(request.messages)
            self.got += request.max_tokens

    def more(self, requests: int, sent: int, got: int) -> None:
        """Requests that are not known."""
        self.requests, self.sent, self.got = self.requests + requests, self.sent + sent, self.got + got


class _NotKnown(Exception):
    """A reply is not stored."""


def _usable(block: pl.DataFrame) -> pl.DataFrame:
    return block.filter(pl.col("problem").is_null())
