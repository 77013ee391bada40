"""Steps that end in a run directory, and those that ask models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from curate import flow
from curate.errors import RecipeError, check_not_hidden
from curate.recipe.consent import trust as give_consent
from curate.recipe.load import Recipe, as_recipe, make_recipe
from curate.rundir.result import Run
from curate.rundir.store import ANSWERS
from curate.signals import Signal
from curate.signals.own import columns_in_use, in_use, load
from curate.sources.memory import readable_paths
from curate.stages.measure import naming_signals

Source = Any  # what `curate.read` takes


def clean(
    source: Source,
    out: str | Path,
    *,
    preset: str | None = None,
    rules: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    signals: Sequence[Signal | Callable[..., Any]] = (),
    force: bool = False,
    **source_options: Any,
) -> Run:
    """
    Clean a preference dataset into a run directory: measure, filter, deduplicate, split, write, report.

    Parameters
    ----------
    source
        Anything that `curate.read` takes. A table in memory is known by its content; the run can be opened anywhere,
        but its recipe can be run again only from Python.
    out
        The run directory, created if need be. The same call continues an interrupted run; an edit repeats only what
        depends on it.
    preset
        Rules for one purpose, each with a reason, beside the default ones: helpful, safety, code, strict.
    rules
        Changes of these rules: `{"max_chars_ratio": 4}`.
    settings
        `section.key=value` texts, as for `--set`. `["engine.use=ray"]` works on all cores, or on a cluster (extra:
        ray).
    signals
        Signals of your own, as for `measure`, which rules may name. The recipe names their columns and never their
        code: pass them again to repeat the run. A signal whose source changed is measured again; what it takes from
        elsewhere (a global, a file) is not looked at.
    force
        Use a folder that holds a run of another source.
    **source_options
        The recipe's source section: format, columns, winners, split, config, revision, limit, max_bad_rows.

    Returns
    -------
    The `Run`: `run.train`, `run.test`, `run.ledger` (lazy frames), `run.counts`, `run.why(row)`, `run.report`.

    Raises
    ------
    CurateError and its kinds: RecipeError for a setting, InputError for the data, MissingExtra for a library.

    Examples
    --------
    >>> import curate, tempfile
    >>> rows = [
    ...     {"prompt": f"Which tea is number {n}?", "chosen": f"Green tea {n}, brewed cool.", "rejected": "No idea."}
    ...     for n in range(4)
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = curate.clean(rows, out=folder, settings=["split.test=0"])
    ...     run.counts["kept"], run.train.collect().height
    (4, 4)
    """
    with readable_paths(source) as paths, in_use(signals):
        tree = {"preset": preset, "source": {"paths": paths, **source_options}, "signals": columns_in_use()}
        tree["rules"] = dict(rules or {})
        return flow.run(make_recipe(tree, settings), out, force=force)


def run(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    out: str | Path,
    *,
    settings: Sequence[str] = (),
    signals: Sequence[Signal | Callable[..., Any]] = (),
    force: bool = False,
) -> Run:
    """
    Run a recipe into a run directory; models are asked where the recipe says so (extra: generate).

    Parameters
    ----------
    recipe
        A YAML file, plain data, or a `Recipe`.
    out, settings, signals, force
        As for `clean`.

    Returns
    -------
    The `Run`.

    Raises
    ------
    CurateError and its kinds, as `clean`; ConsentNeeded for a recipe that was pulled and that names models, files or
    keys, until `trust` allowed it; ServiceError when an endpoint fails for good; BudgetReached when the budget
    of the recipe is spent. Every reply is kept, so the same call goes on.

        curate.run("recipe.yaml", out="RUN")
        curate.run({"source": {"paths": "pairs.jsonl"}, "dedup": {"near": True}}, out="RUN")
    """
    with in_use(signals):
        loaded = as_recipe(recipe, settings)
        loaded = naming_signals(loaded)
        if loaded.asks_models:
            check_not_hidden("pipelines")
            from pipelines.flow import run as run_with_models

            return run_with_models(loaded, out, force=force)
        return flow.run(loaded, out, force=force)


@contextmanager
def signals_of_files(named: Sequence[str]) -> Iterator[None]:
    """Use the signals that `--signals FILE.py:FUNCTION` names; their files are run."""
    with in_use([load(each) for each in named]):
        yield


def trust(recipe: str | Path | Mapping[str, Any] | Recipe | Run) -> list[str]:
    """
    Agree to what a recipe from elsewhere would use, as `--trust --yes` does: from now on exactly this recipe may.

    `recipe` is a recipe as for `run`, or a pulled `Run`. Returns the uses, one text each, such as `send prompts to
    https://… with the key in …`; look at them first with `curate recipe` or in the error of a call without consent. A
    recipe of one's own needs none. Raises RecipeError for a recipe that cannot be read.

        run = curate.pull("OWNER/NAME", out="AGAIN")
        curate.trust(run)
    """
    loaded = recipe.recipe if isinstance(recipe, Run) else as_recipe(recipe)
    return [f"{use.text} ({use.key})" for use in give_consent(loaded, lambda _: True)]


def generate(
    source: Source, models: str | Sequence[Any], *, out: str | Path | None = None, **section: Any
) -> pl.DataFrame:
    """
    Let models answer prompts (extra: generate).

    Parameters
    ----------
    source
        Prompts: anything that `curate.read` takes, of which the answers are left aside.
    models
        `openai:NAME[@URL]`, `inference:NAME`, `transformers:ID`, `gguf:FILE`, `embedded`; one or several, each a line
        or a mapping with its settings.
    out
        A folder that keeps every reply, so that the same call asks nothing twice and `curate.run` goes on from there.
        None = a temporary one.
    **section
        The recipe's generate section: n, temperatures, systems, max_tokens, seed, max_failed; and `settings`, a list of
        `section.key=value` texts.

    Returns
    -------
    CANDIDATES, one row per answer; response is null where a request failed, and error says why.

    Raises
    ------
    ServiceError when an endpoint fails for good, BudgetReached when the budget is spent, RecipeError for a setting.

        curate.generate(["prompts.jsonl"], "openai:gpt-4o-mini", n=4, out="RUN")
    """
    return _asked("generate", source, models, out, section)


def judge(
    source: Source, models: str | Sequence[Any], *, out: str | Path | None = None, **section: Any
) -> pl.DataFrame:
    """
    Let judges score answers (extra: generate).

    Parameters
    ----------
    source
        CANDIDATES, as `generate` returns it, a run that has them, or pairs, whose two sides are judged.
    models
        As for `generate`; also `reward:ID` and `heuristic`. Several are a panel, whose scores are averaged.
    out
        As for `generate`.
    **section
        The recipe's judge section: method, rubric, aspects, scale, max_tokens, seed, structured, max_failed; and
        `settings`, as for `generate`.

    Returns
    -------
    CANDIDATES with score, scores, reason and judge; score is null where there is no usable verdict.

    Raises
    ------
    As `generate`.

        curate.judge(candidates, "openai:gpt-4o", rubric="helpfulness")
    """
    if isinstance(source, Run):
        source = source.folder
    if isinstance(source, str | Path) and (Path(source) / ANSWERS).is_file():
        source = Path(source) / ANSWERS
    return _asked("judge", source, models, out, section)


def rubric(  # noqa: PLR0913 - the options of the command
    pairs: Source,
    model: Any,
    *,
    out: str | Path,
    judge: Any = None,
    method: str = "rubric",
    against: str = "overall",
    drafts: int = 3,
    settings: Sequence[str] = (),
    force: bool = False,
    **sizes: Any,
) -> dict[str, Any]:
    """
    Draft a rubric from labelled pairs; keep it if a judge then agrees better with held-out labels (extra: generate).

    Parameters
    ----------
    pairs
        Anything that `curate.read` takes. Left out are ties, unreadable rows, pairs of identical answers, and those
        labelled both ways; of similar prompts one is used.
    model
        Writes the drafts: a line as for `generate`, or a mapping with its settings.
    out
        The folder of the result: `rubric.txt` (only where one is kept), `draft-1.txt`, …, `rubric.json`, and every
        reply, so that the same call asks nothing twice.
    judge
        The model that judges by the rubrics; None = `model`.
    method, against
        "rubric" (each answer is rated) or "pairwise", and the rubric in use: the name of a shipped one, or a text file.
    drafts
        How many are written, each from examples of its own. The best of them is chosen by the development pairs, and it
        alone is compared on the held-out ones.
    settings
        `section.key=value` texts: budget, judge (max_tokens, …), generate (of the writer), source, split.salt.
    force
        Use a folder with a rubric from other pairs.
    **sizes
        examples (24), development (50), held_out (100): how many pairs; about: what the data set is for; chars: of all
        pairs in a request to the writer; min_gain: least gain in agreement, 0 to 1.

    Returns
    -------
    A dict, also in `rubric.json`: kept (bool), sentence, draft (its number), gain (mean, low and high end of its 95 %
    interval), figures (of the rubric in use and of the draft), drafts, pairs, left_out, requests; and rubric, the text
    of the best draft. In figures a share of zero pairs is None.

    Raises
    ------
    InputError for too few pairs, ServiceError if no draft can be used or an endpoint fails for good, BudgetReached when
    the budget is spent, RecipeError for a setting.

        curate.rubric("pairs.jsonl", "openai:gpt-4.1", judge="openai:gpt-4.1-mini", out="RUBRIC")["kept"]
    """
    check_not_hidden("pipelines")
    from pipelines.drafting import drafting, drafting_recipe
    from pipelines.rubric import draft_rubric

    plan = drafting(**sizes)
    with readable_paths(pairs) as paths:
        recipe = drafting_recipe(paths, model, judge, method=method, against=against, drafts=drafts, settings=settings)
        return draft_rubric(recipe, plan, out, force=force)


def _asked(name: str, source: Source, models: Any, out: str | Path | None, section: dict[str, Any]) -> pl.DataFrame:
    """Run the part of a recipe that asks models, and return its candidates."""
    check_not_hidden("pipelines")
    from pipelines import flow as pipeline

    settings = section.pop("settings", ())
    lines = [models] if isinstance(models, str | Mapping) else list(models)
    if not lines:
        raise RecipeError(f"curate.{name}: name at least one model")
    with ExitStack() as stack:
        paths = stack.enter_context(readable_paths(source))
        folder = Path(out or stack.enter_context(TemporaryDirectory(prefix="prefcurate-")))
        recipe = make_recipe({"source": {"paths": paths}, name: {"models": lines, **section}}, settings)
        {"generate": pipeline.generate, "judge": pipeline.judge}[name](recipe, folder)
        return pl.read_parquet(folder / ANSWERS, glob=False)
