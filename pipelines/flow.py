"""Prompts → candidates → verdicts → pairs, ahead of curate's own flow, with one run directory and one reply cache."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from curate import flow
from curate.errors import RecipeError, unknown
from curate.files import atomic, remove
from curate.recipe.load import Recipe, load_recipe, resolved, to_yaml
from curate.recipe.models import Model, Pair, named_model
from curate.rundir.result import Run
from curate.rundir.stage import Stage
from curate.rundir.store import ANSWERS, RECIPE, REQUESTS, STAGES, Store, open_store
from curate.rundir.writers import TableWriter
from curate.schema import CANDIDATES
from curate.terminal import busy, is_watched, say
from pipelines import stages
from pipelines.checks import check, check_run, only_answers, up_to_verdicts
from pipelines.clients import connect as connecting
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.dispatcher import Dispatcher, heed_interrupts
from pipelines.clients.progress import live, spent
from pipelines.clients.requests import Reply, Request, SendRequests
from pipelines.estimator import Estimate, Estimator, requested_models
from pipelines.inputs import has_scored_answers, read_origin
from pipelines.judges.llm import LlmJudge
from pipelines.judges.panel import judges_of
from pipelines.summary import answer_report

Count = Callable[[Estimator], list[Estimate]]


def run(recipe: Recipe, out: str | Path, *, force: bool = False) -> Run:
    """
    Run a whole recipe: generate or read prompts, answer, judge, pair, then clean as `curate.run` does.

    Every reply is stored in `out` on arrival: the same call resumes an interrupted run, and an edited recipe sends only
    the requests that changed. Raises CurateError and its subclasses: ServiceError when an endpoint fails permanently,
    BudgetReached when the budget is spent.
    """
    if not recipe.asks_models or has_scored_answers(recipe):
        return flow.run(recipe, out, force=force)
    check_run(recipe)
    recipe = recipe.model_copy(update={"pair": recipe.pair or Pair()})  # every default is written out
    return flow.run(recipe, out, force=force, make_pairs=_generated_pairs)


def generate(recipe: Recipe, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Generate prompts and answers only: write `out`/candidates.parquet and return a summary. `run` continues there."""
    return _part_way(recipe, only_answers(recipe), out, force=force)


def judge(recipe: Recipe, out: str | Path, *, force: bool = False) -> dict[str, Any]:
    """Generate and judge: candidates.parquet then has scores, and the summary a report per judge."""
    return _part_way(recipe, up_to_verdicts(recipe), out, force=force)


def judge_again(folder: str | Path, judges: Sequence[str]) -> Run | dict[str, Any]:
    """
    Ask judges of a run for all of their verdicts again, and repeat what depends on them. What was paid stays recorded.

    `judges`: lines of the recipe, or names as in tables. Returns what `run` returns for a run that has pairs, else what
    `judge` returns. Raises RecipeError for a folder without judges, and for a judge that sent no requests.

        judge_again("RUN", ["openai:gpt-4.1-mini"])
    """
    folder = Path(folder)
    if not (folder / RECIPE).is_file():
        raise RecipeError(f"{folder} is not a run; --again asks a judge of a run again")
    recipe = load_recipe(folder / RECIPE)
    if (section := recipe.judge) is None:
        raise RecipeError(f"{folder} has no judge that could be asked again")
    asked = judges_of(section)
    known = {judge.model.name: judge for judge in asked if isinstance(judge, LlmJudge)}
    chosen = [named_model(line).name for line in judges]
    if missing := [name for name in chosen if name not in known]:
        raise unknown("judge that was asked", missing[0], known)
    has_pairs = (folder / STAGES / "pairs").is_dir()
    # Before anything is forgotten: consent, keys, rubrics, prices.
    if has_pairs:
        check_run(recipe)
    else:
        check(up_to_verdicts(recipe))
    with open_store(folder, resolved(recipe), to_yaml(recipe)) as store, RequestCache(folder / REQUESTS) as cache:
        for part in Stage(store.folder / STAGES / "answers", "").parts():
            for name in chosen:
                cache.forget(known[name].model.model, known[name].requests(pl.read_parquet(part, glob=False)))
        for name in ("verdicts", "judged"):
            remove(store.folder / STAGES / name)
    return run(recipe, folder) if has_pairs else judge(recipe, folder)


def quickstart(out: str | Path, *, force: bool = False) -> Run:
    """Run the shipped quickstart recipe: kitchen questions answered by SmolLM2 on this machine, without network."""
    return run(load_recipe(Path(__file__).parent / "recipes" / "quickstart.yaml"), out, force=force)


def _part_way(recipe: Recipe, part: Recipe, out: str | Path, *, force: bool) -> dict[str, Any]:
    """Execute a part of a recipe; the run stores the whole recipe."""
    check(part)
    with open_store(Path(out), resolved(recipe), to_yaml(recipe), force=force) as store, _session(store, part) as now:
        now.candidates()
        return {"generation": now.about()}


def _generated_pairs(store: Store, recipe: Recipe) -> flow.GeneratedPairs:
    with _session(store, recipe) as now:
        judged = now.candidates()
        section = recipe.pair or Pair()
        scored = judged.scan().select(pl.col("score").is_not_null().any()).collect().item()
        if recipe.judge is None and section.strategy != "delta" and not scored:
            raise RecipeError("no answer has a score: add a judge section, or pair.strategy: delta")
        measured = judged.scan().select(pl.col("logp_per_token").is_not_null().any()).collect().item()
        if section.min_logp_per_token is not None and not measured:
            raise RecipeError("pair.min_logp_per_token: the likelihood of no answer is known; see generate.on_policy")
        pairs = stages.pair(store, section, judged, now.stages["origin"])
        return flow.GeneratedPairs(pairs, now.stages, now.about())


@contextmanager
def _session(store: Store, recipe: Recipe) -> Iterator["_Session"]:
    heed_interrupts()
    with RequestCache(store.folder / REQUESTS) as cache:
        dispatcher = Dispatcher(cache, Budget(recipe.budget, requested_models(recipe)))
        yield _Session(store, recipe, dispatcher)


class _Session:
    """One execution of a recipe: its dispatcher and the stages completed so far."""

    def __init__(self, store: Store, recipe: Recipe, dispatcher: Dispatcher) -> None:
        self._store, self._recipe, self._dispatcher = store, recipe, dispatcher
        self.stages: dict[str, Stage] = {}

    def candidates(self) -> Stage:
        """Run all stages up to judged candidates, and write candidates.parquet."""
        self._origin()
        self._answers()
        self._likelihood()
        self._verdicts()
        _write(self._store.folder / ANSWERS, self.stages["judged"])
        return self.stages["judged"]

    def about(self) -> dict[str, Any]:
        """Summarize for manifest and card: prompts, answers, judges, and requests with their cost."""
        generation: dict[str, Any] = {}
        if (info := self.stages["origin"].info) and "generated" in info:
            generation["prompts"] = info["generated"]
        if self._recipe.generate is not None:
            generation["answers"] = answer_report(self.stages["answers"])
        if self._recipe.trained is not None:
            generation["on_policy"] = (self.stages["answers"].info or {})["on_policy"]
        if self._recipe.judge is not None and (info := self.stages["judged"].info):
            generation |= {"judges": info["judges"], "panel": info["panel"]}
        return generation | {"requests": spent(self._dispatcher)}

    def _origin(self) -> None:
        prompts = self._recipe.prompts
        with ExitStack() as stack:
            ask: SendRequests | None = None
            if prompts is not None:
                open_clients = self._opener(
                    stack, [prompts.model], "prompts", lambda e: [e.prompts_to_generate(prompts)]
                )
                ask = partial(_ask_first, open_clients)
            self.stages["origin"] = read_origin(self._store, self._recipe, ask)

    def _answers(self) -> None:
        section, origin = self._recipe.generate, self.stages["origin"]
        if section is None:
            self.stages["answers"] = stages.candidates_from_source(self._store, origin)
            return
        with ExitStack() as stack:
            open_clients = self._opener(
                stack, section.models, "generate", lambda e: e.answered(section, self._pending(origin, "answers"))
            )
            self.stages["answers"] = stages.answer(self._store, section, origin, open_clients, self._dispatcher)

    def _likelihood(self) -> None:
        if (model := self._recipe.trained) is None:
            return
        answers, origin = self.stages["answers"], self.stages["origin"]
        with ExitStack() as stack:
            open_clients = self._opener(
                stack, [model], "likelihood", lambda e: [e.measured(model, self._pending(answers, "likelihood"))]
            )
            self.stages["answers"] = stages.measure(self._store, model, answers, origin, open_clients, self._dispatcher)

    def _verdicts(self) -> None:
        section = self._recipe.judge
        if section is None:
            self.stages["judged"] = self.stages["answers"]
            return
        with ExitStack() as stack:
            judges = judges_of(section)
            models = [judge.model for judge in judges if judge.sends_requests]
            answers, origin = self.stages["answers"], self.stages["origin"]
            pending = self._pending(answers, "verdicts")
            open_clients = self._opener(stack, models, "judge", lambda e: e.judged(section, pending))
            self.stages["verdicts"], self.stages["judged"] = stages.judge(
                self._store, section, judges, answers, origin, open_clients, self._dispatcher, pair=self._recipe.pair
            )

    def _pending(self, source: Stage, target: str) -> Iterator[pl.DataFrame]:
        """Yield the parts of a stage that `target` has not processed yet."""
        there = Stage(self._store.folder / STAGES / target, "")
        for number, part in enumerate(source.parts()):
            if not there.part(number).is_file():
                yield pl.read_parquet(part, glob=False)

    def _opener(self, stack: ExitStack, models: Sequence[Model], what: str, count: Count) -> stages.OpenClients:
        """Return a function that opens the models on its first call; a complete stage never calls it."""
        lock, opened = threading.Lock(), list[Mapping[str, SendRequests]]()

        def open_clients() -> Mapping[str, SendRequests]:
            with lock:
                if not opened and models:
                    total = None
                    if is_watched():  # counting takes a while, and only a terminal shows it
                        estimates = count(Estimator(self._recipe, self._dispatcher.cache))
                        for line in estimates:
                            say(str(line))
                        total = sum(line.requests for line in estimates)
                    stack.enter_context(live(self._dispatcher, what, total))
                    with busy(f"{what}: starting {', '.join(dict.fromkeys(model.name for model in models))}"):
                        opened.append(stack.enter_context(connecting.open_models(models, self._dispatcher)))
            return opened[0] if opened else {}

        return open_clients


def _ask_first(open_clients: stages.OpenClients, requests: Sequence[Request]) -> list[Reply]:
    """Send requests to the only model."""
    return next(iter(open_clients().values()))(requests)


def _write(path: Path, candidates: Stage) -> None:
    with atomic(path) as temporary:
        writer = TableWriter(temporary, CANDIDATES)
        for part in candidates.parts():
            writer.write(pl.read_parquet(part, glob=False))
        writer.close()
