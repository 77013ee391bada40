"""Count requests, tokens and cost, given the replies that are stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from curate.pairing import pairable
from curate.recipe.endpoint import endpoint_of
from curate.recipe.load import Recipe
from curate.recipe.models import Generate, Judge, Model, Pair, Prompts
from pipelines.clients.budget import Budget, tokens_of
from pipelines.clients.cache import RequestCache
from pipelines.clients.requests import Reply, Request, SendRequests
from pipelines.generate import generate, variants
from pipelines.judges import panel
from pipelines.judges.base import Judge as AnyJudge
from pipelines.judges.style import sample
from pipelines.likelihood import answer_request, prefix_request, unmeasured
from pipelines.prompts.make import make_prompts

NEW_PROMPT_TOKENS = 60  # estimated length of a prompt that is not generated yet
NOT_STORED = "no stored reply"
PROMPTS_SHOWN = 5  # seeds and instructions in a request for prompts, as a multiple of that length


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests to one model in one stage. Input tokens are estimated by length, output tokens are the maximum."""

    stage: str
    model: str
    requests: int
    known: int  # of these, answered from the cache
    input_tokens: int  # of the others
    output_tokens: int
    usd: float | None  # upper bound for the others; null = no price is known
    usd_expected: float | None  # by the mean length of the model's replies so far; null = none yet, or no price
    address: str  # where the requests go, or "this machine"
    key: str | None  # environment variable whose key goes with them; null = none

    def __str__(self) -> str:
        """Format as one line."""
        known = f" ({self.known:,} answered before)" if self.known else ""
        usd = "price unknown" if self.usd is None else f"${self.usd:,.4f} at most"
        usd += "" if self.usd_expected is None else f", ${self.usd_expected:,.4f} expected"
        return (
            f"{self.stage}: {self.requests:,} requests to {self.model}{known}, about {self.input_tokens:,} tokens in, "
            f"{self.output_tokens:,} out at most, {usd}"
        )


def models_of(recipe: Recipe) -> list[Model]:
    """Return all models of a recipe."""
    return [*_sampled(recipe), *(recipe.judge.models if recipe.judge else [])]


def requested_models(recipe: Recipe) -> list[Model]:
    """Return the models of a recipe that receive requests, without judges that score in this process."""
    return [*_sampled(recipe), *(judge.model for judge in _requesting(recipe.judge))]


def _sampled(recipe: Recipe) -> list[Model]:
    found = [recipe.prompts.model] if recipe.prompts else []
    found += recipe.generate.models if recipe.generate else []
    return [*found, *filter(None, [recipe.trained])]


def _requesting(section: Judge | None) -> list[AnyJudge]:
    return [judge for judge in panel.judges_of(section) if judge.sends_requests] if section else []


class Estimator:
    """Estimates for one recipe, given the stored replies."""

    def __init__(self, recipe: Recipe, cache: RequestCache) -> None:
        self._cache = cache
        pair = recipe.pair or Pair()
        self._pairable = pairable(pair.cut_off, None if recipe.trained else pair.min_logp_per_token)
        self._prices = Budget(recipe.budget, requested_models(recipe)).prices

    def prompts(self, section: Prompts, seeds: Sequence[str]) -> tuple[Estimate, pl.DataFrame | None]:
        """Estimate the generation of prompts; also return the prompts if all replies are stored already."""
        known = 0

        def ask(requests: Sequence[Request]) -> list[Reply]:
            nonlocal known
            replies = [self._cache.get(section.model.model, request) for request in requests]
            there = [reply for reply in replies if reply is not None]
            known += len(there)
            if len(there) < len(replies):
                raise _NotStored
            return there

        try:
            generated = make_prompts(section, seeds, ask)
        except _NotStored:
            return self.prompts_to_generate(section, known), None
        return self._row("prompts", section.model, _Sum(known, known)), generated.prompts

    def prompts_to_generate(self, section: Prompts, known: int = 0) -> Estimate:
        """Estimate the generation of prompts: one request each and a fifth more, to replace duplicates."""
        requests = max(-(-12 * section.n // 10), known)
        left = requests - known
        most = left * (section.model.max_tokens or section.max_tokens)
        return self._row(
            "prompts", section.model, _Sum(requests, known, left * NEW_PROMPT_TOKENS * PROMPTS_SHOWN, most)
        )

    def answered(self, section: Generate, blocks: Iterable[pl.DataFrame], new: int = 0) -> list[Estimate]:
        """Estimate answers to prompts, and to `new` ones that are not generated yet."""
        wanted = variants(section)
        sums = {model.model: _Sum() for model in section.models}
        for prompt in (prompt for block in blocks for prompt in _usable(block).get_column("prompt").to_list()):
            for variant in wanted:
                sums[variant.model.model].add(variant.at_most(prompt), variant.model, self._cache)
        for variant in wanted:
            requests = variant.at_most([])
            most = new * sum(request.max_tokens for request in requests)
            sums[variant.model.model].add_unseen(new, new * NEW_PROMPT_TOKENS * len(requests), most)
        return [self._row("generate", model, sums.pop(model.model)) for model in section.models if model.model in sums]

    def measured(self, model: Model, answers: Iterable[pl.DataFrame]) -> Estimate:
        """Estimate the requests for the likelihood of answers that exist."""
        requests: list[Request] = []
        for rows in map(unmeasured, answers):
            requests += map(prefix_request, rows.unique("prompt_id").get_column("prompt").to_list())
            requests += (
                answer_request(prompt, response, 0)
                for prompt, response in rows.select("prompt", "response").iter_rows()
            )
        return self.requests("likelihood", model, requests)

    def measured_unseen(
        self, model: Model, generation: Generate, blocks: Sequence[pl.DataFrame], new: int = 0
    ) -> Estimate:
        """Estimate the same for the answers to prompts: stored answers as they are, all others at maximum length."""
        ahead = self._ahead(generation, blocks, new)
        stored = self.measured(model, ahead.there)
        answers = ahead.sets * ahead.variants
        sent = ahead.prompt_tokens * (1 + ahead.variants) + answers * ahead.answer_tokens
        left = _Sum(stored.requests, stored.known, stored.input_tokens, stored.output_tokens)
        left.add_unseen(ahead.sets + answers, sent, ahead.sets + answers)
        return self._row("likelihood", model, left)

    def judged(self, section: Judge, candidates: Iterable[pl.DataFrame]) -> list[Estimate]:
        """Estimate verdicts on answers that exist."""
        judges = _requesting(section)
        sums = {judge.model.model: _Sum() for judge in judges}
        blocks = list(candidates) if section.style_check else candidates
        self._judge(judges, blocks, sums)
        self._judge(judges, _unstyled(section, blocks), sums)
        return [self._row("judge", judge.model, sums[judge.model.model]) for judge in judges]

    def judged_unseen(
        self, section: Judge, generation: Generate, blocks: Sequence[pl.DataFrame], new: int = 0
    ) -> list[Estimate]:
        """Estimate verdicts on the answers to prompts: stored answers as they are, all others at maximum length."""
        judges = _requesting(section)
        sums = {judge.model.model: _Sum() for judge in judges}
        ahead = self._ahead(generation, blocks, new)
        for shown in (ahead.there, _unstyled(section, ahead.there)):
            self._judge(judges, shown, sums)
        again = min(section.style_check, ahead.sets)  # of the sets without a stored answer, at most
        for judge in judges:
            for sets in filter(None, (ahead.sets, again)):
                share = ahead.prompt_tokens * sets // ahead.sets
                sums[judge.model.model].add_unseen(*judge.expected(sets, share, ahead.variants, ahead.answer_tokens))
        return [self._row("judge", judge.model, sums[judge.model.model]) for judge in judges]

    def _ahead(self, generation: Generate, blocks: Sequence[pl.DataFrame], new: int) -> "_Ahead":
        clients = {model.model: self.stored(model) for model in generation.models}
        wanted = variants(generation)
        answer_tokens = sum(variant.at_most([])[-1].max_tokens for variant in wanted) // len(wanted)
        ahead = _Ahead([], new, new * NEW_PROMPT_TOKENS, len(wanted), answer_tokens)
        for block in blocks:
            answers = generate(_usable(block), generation, clients)
            final = pl.any_horizontal(pl.col("response", "finish_reason").is_not_null())
            whole = final.all().over("source", "source_row")
            ahead.there.append(answers.filter(whole))
            prompts = answers.filter(~whole).unique(["source", "source_row"]).get_column("prompt").to_list()
            ahead.sets += len(prompts)
            ahead.prompt_tokens += sum(map(tokens_of, prompts))
        return ahead

    def requests(self, stage: str, model: Model, requests: Iterable[Request]) -> Estimate:
        """Estimate given requests to one model."""
        found = _Sum()
        for request in requests:
            found.add([request], model, self._cache)
        return self._row(stage, model, found)

    def _judge(
        self, judges: Sequence[AnyJudge], candidates: Iterable[pl.DataFrame], sums: Mapping[str, "_Sum"]
    ) -> None:
        for block in candidates:
            for judge in judges:
                for request in judge.requests(block.filter(self._pairable)):
                    sums[judge.model.model].add([request], judge.model, self._cache)

    def stored(self, model: Model) -> SendRequests:
        """Return a stand-in for the model that returns stored replies only."""

        def ask(requests: Sequence[Request]) -> list[Reply]:
            return [self._last_stored(model, request) or Reply(None, error=NOT_STORED) for request in requests]

        return ask

    def _last_stored(self, model: Model, request: Request) -> Reply | None:
        """Return the stored reply to a request, or to the one that followed from it."""
        reply = self._cache.get(model.model, request)
        following = request.then(reply) if reply and request.then else None
        later = self._cache.get(model.model, following) if following else None
        return later if later and later.text is not None else reply

    def _row(self, stage: str, model: Model, found: "_Sum") -> Estimate:
        price = self._prices.get(model.model)
        usd = price.of(found.sent, found.got) if price else None
        replies, _, got = self._cache.spent().get(model.model, (0, 0, 0))
        left = found.requests - found.known
        expected = price.of(found.sent, min(found.got, left * got / replies)) if price and replies else None
        there = endpoint_of(model)
        place = (there.shown, there.key) if there else ("this machine", None)
        return Estimate(stage, model.name, found.requests, found.known, found.sent, found.got, usd, expected, *place)


@dataclass(slots=True)
class _Ahead:
    """The answers to prompts: those that are stored already, and how many others there will be at most."""

    there: list[pl.DataFrame]  # CANDIDATES of sets whose answers are all stored
    sets: int  # prompts of the others
    prompt_tokens: int  # of these prompts, together
    variants: int  # answers to each of them
    answer_tokens: int  # of one answer, at most


@dataclass(slots=True)
class _Sum:
    """Requests to one model, the number of known ones, and the tokens of the others."""

    requests: int = 0
    known: int = 0
    sent: int = 0
    got: int = 0

    def add(self, requests: Sequence[Request], model: Model, cache: RequestCache) -> None:
        """Add a request, with those that may follow from its reply: only a stored reply tells whether they do."""
        self.requests += 1
        request, *others = requests
        stored = cache.get(model.model, request)
        if stored is None:
            self.sent += sum(tokens_of(one.messages) for one in requests)
            self.got += sum(one.max_tokens for one in requests)
            return
        self.known += 1
        following = request.then(stored) if others and request.then else None
        if following is not None and cache.get(model.model, following) is None:
            self.requests += 1
            self.sent += tokens_of(following.messages)
            self.got += following.max_tokens

    def add_unseen(self, requests: int, sent: int, got: int) -> None:
        """Add requests without a stored reply."""
        self.requests, self.sent, self.got = self.requests + requests, self.sent + sent, self.got + got


def _unstyled(section: Judge, blocks: Iterable[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the answers that are judged once more without their markdown."""
    return [sample(pl.concat(blocks), section.style_check)] if section.style_check and blocks else []


class _NotStored(Exception):
    """Raised when a reply is not stored."""


def _usable(block: pl.DataFrame) -> pl.DataFrame:
    return block.filter(pl.col("problem").is_null())
