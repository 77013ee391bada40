"""What is sure to go wrong is said before the first request, not after hours of paid ones."""

from collections.abc import Sequence

from curate.errors import RecipeError, unknown
from curate.recipe.load import Recipe
from curate.recipe.models import Generate, Model, Pair, named_model
from pipelines import generate as answering
from pipelines.clients import connect as connecting
from pipelines.clients.budget import Budget
from pipelines.estimate import models_of, requested_models
from pipelines.judges import panel


def only_answers(recipe: Recipe) -> Recipe:
    """The part of a recipe that `generate` does."""
    if recipe.generate is None:
        raise RecipeError("the recipe has no generate section; who answers? Add generate.models")
    return recipe.model_copy(update={"judge": None, "pair": None})


def up_to_verdicts(recipe: Recipe) -> Recipe:
    """The part of a recipe that `judge` does."""
    if recipe.judge is None:
        raise RecipeError("the recipe has no judge section; who judges? Add judge.models")
    return recipe.model_copy(update={"pair": None})


def check_run(recipe: Recipe, *, keys: bool = True) -> None:
    """Raise CurateError, too, where no answer could become a pair."""
    section = recipe.pair or Pair()
    if recipe.generate is not None:
        if recipe.judge is None and section.strategy != "delta":
            raise RecipeError("generate: add a judge section, which tells the better answers, or pair.strategy: delta")
        _check_pairs(recipe.generate, section)
    check(recipe, keys=keys)


def check(recipe: Recipe, *, keys: bool = True) -> None:
    """
    Raise CurateError for models that cannot be asked or told apart, and rubrics and prices that are not there. Without
    `keys` those of the endpoints need not be there yet.
    """
    _check_distinct(models_of(recipe))
    writers = [recipe.prompts.model] if recipe.prompts else []
    writers += recipe.generate.models if recipe.generate else []
    for model in writers:
        connecting.check(model, keys=keys)
    if recipe.generate:
        answering.check(recipe.generate)
    if recipe.judge:
        panel.check(recipe.judge, keys=keys)
    Budget(recipe.budget, requested_models(recipe))


def _check_pairs(section: Generate, pair: Pair) -> None:
    answers = answering.variants(section)
    if len(answers) < 2:
        raise RecipeError("generate: one answer to each prompt makes no pair; raise generate.n, or name more models")
    if pair.strategy == "best_of_on_policy" and sum(answer.model.on_policy for answer in answers) < 2:
        raise RecipeError("pair.strategy: best_of_on_policy needs two answers or more of a model with on_policy: true")
    if pair.strategy == "delta":
        names = {model.name for model in section.models}
        for line in pair.order:
            if named_model(line).name not in names:
                raise unknown("model in pair.order", line, names)


def _check_distinct(models: Sequence[Model]) -> None:
    """Replies are stored by the model's line, and published under its name."""
    addresses: dict[str, str | None] = {}
    lines: dict[str, str] = {}
    for model in models:
        if addresses.setdefault(model.model, model.base_url) != model.base_url:
            both = " and ".join(str(url or "the usual one") for url in (addresses[model.model], model.base_url))
            raise RecipeError(
                f"{model.model} stands in the recipe with two addresses, {both}; models are told apart by their line: "
                f"serve one of them under another name"
            )
        if lines.setdefault(model.name, model.model) != model.model:
            raise RecipeError(f"two models would both be called {model.name} in what is published; rename one's file")
