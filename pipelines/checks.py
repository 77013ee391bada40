"""Checks of a recipe before the first request, for errors that would otherwise appear after hours of paid ones."""

from collections.abc import Sequence

from curate.errors import RecipeError, unknown
from curate.recipe.consent import check_consent
from curate.recipe.load import Recipe
from curate.recipe.models import Generate, Model, Pair, named_model
from pipelines import generate as answering
from pipelines.clients import connect as connecting
from pipelines.clients.budget import Budget
from pipelines.estimator import models_of, requested_models
from pipelines.judges import panel


def only_answers(recipe: Recipe) -> Recipe:
    """Return the part of a recipe that `generate` executes."""
    if recipe.generate is None:
        raise RecipeError("the recipe has no generate section; add generate.models")
    return recipe.model_copy(update={"judge": None, "pair": None})


def up_to_verdicts(recipe: Recipe) -> Recipe:
    """Return the part of a recipe that `judge` executes."""
    if recipe.judge is None:
        raise RecipeError("the recipe has no judge section; add judge.models")
    return recipe


def check_run(recipe: Recipe, *, keys: bool = True) -> None:
    """Check a recipe for `run`: like `check`, and raise RecipeError also where no answers could form a pair."""
    section = recipe.pair or Pair()
    if recipe.generate is not None:
        if recipe.judge is None and section.strategy != "delta":
            raise RecipeError("generate: add a judge section to score the answers, or pair.strategy: delta")
        _check_pairs(recipe.generate, section)
    check(recipe, keys=keys)


def check(recipe: Recipe, *, keys: bool = True) -> None:
    """
    Raise ConsentNeeded for a recipe from elsewhere that the user has not agreed to, and CurateError for models that
    cannot be used or told apart, and for missing rubrics and prices. With `keys=False` the keys of endpoints may still
    be missing.
    """
    check_consent(recipe)
    _check_distinct(models_of(recipe))
    sampled = [recipe.prompts.model] if recipe.prompts else []
    sampled += recipe.generate.models if recipe.generate else []
    for model in sampled:
        connecting.check(model, keys=keys)
    if recipe.generate:
        answering.check(recipe.generate)
    if recipe.judge:
        panel.check(recipe.judge, keys=keys)
    Budget(recipe.budget, requested_models(recipe))


def _check_pairs(section: Generate, pair: Pair) -> None:
    answers = answering.variants(section)
    if len(answers) < 2:
        raise RecipeError("generate: one answer per prompt makes no pair; raise generate.n, or add models")
    if pair.strategy == "best_of_on_policy" and sum(answer.on_policy for answer in answers) < 2:
        raise RecipeError("pair.strategy: best_of_on_policy needs at least two answers of a model with on_policy: true")
    if pair.strategy == "delta":
        names = {model.name for model in section.models}
        for line in pair.order:
            if named_model(line).name not in names:
                raise unknown("model in pair.order", line, names)


def _check_distinct(models: Sequence[Model]) -> None:
    """Raise RecipeError for ambiguous models: replies are stored by a model's line and published under its name."""
    addresses: dict[str, str | None] = {}
    lines: dict[str, str] = {}
    for model in models:
        if addresses.setdefault(model.model, model.base_url) != model.base_url:
            both = " and ".join(str(url or "the default") for url in (addresses[model.model], model.base_url))
            raise RecipeError(
                f"{model.model} has two addresses in the recipe, {both}; models are told apart by their line: "
                f"serve one of them under another name"
            )
        if lines.setdefault(model.name, model.model) != model.model:
            raise RecipeError(f"two models would both be published as {model.name}; rename one of the files")
