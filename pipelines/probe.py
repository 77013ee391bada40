"""One token from each model of a recipe, so that a wrong key, address or name is found before a long run."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from curate.errors import CurateError
from curate.recipe.consent import check_consent
from curate.recipe.endpoint import endpoint_of
from curate.recipe.load import Recipe
from curate.recipe.models import Model
from curate.terminal import busy
from pipelines.clients.budget import Budget
from pipelines.clients.cache import RequestCache
from pipelines.clients.connect import open_models
from pipelines.clients.dispatcher import Dispatcher, heed_interrupts
from pipelines.clients.requests import Request
from pipelines.estimator import requested_models

QUESTION = {"role": "user", "content": "Hi"}
PATIENCE, RETRIES = 15.0, 1  # seconds, and how often: a probe is to be quick


@dataclass(frozen=True, slots=True)
class Probe:
    """What a model said to one request for one token."""

    model: str
    address: str  # where the request went, or "this machine"
    key: str | None  # environment variable whose key went with it; null = none
    seconds: float
    problem: str | None  # null = it answers


def probe(recipe: Recipe) -> list[Probe]:
    """
    Ask each model of a recipe for one token, and say what is wrong with those that do not answer. Judges that score in
    this process are not asked. Nothing is stored. Raises ConsentNeeded for a recipe from elsewhere.

        probe(load_recipe("recipe.yaml"))  # [Probe("openai:gpt-4o-mini", "https://api.openai.com/v1", …)]
    """
    check_consent(recipe)
    heed_interrupts()
    models = {model.model: model for model in requested_models(recipe)}
    with busy("asking each model for one token"), ThreadPoolExecutor(max(1, len(models))) as pool:
        return list(pool.map(_probed, models.values()))


def _probed(model: Model) -> Probe:
    started = time.monotonic()
    place = endpoint_of(model)
    try:
        problem = _ask(model.model_copy(update={"patience": min(model.patience, PATIENCE), "retries": RETRIES}))
    except CurateError as error:
        problem = str(error).partition(". All replies are kept")[0]
        problem = problem.removeprefix(f"{model.model.partition(':')[2]} at {place.base_url if place else ''}: ")
    where = (place.shown, place.key) if place else ("this machine", None)
    return Probe(model.name, *where, time.monotonic() - started, problem)


def _ask(model: Model) -> str | None:
    with RequestCache(":memory:") as cache, open_models([model], Dispatcher(cache, Budget(None, [model]))) as clients:
        request = Request([QUESTION], {"max_tokens": 1} | model.extra).with_room(1)
        (reply,) = clients[model.model]([request])
        return None if reply.is_final else reply.error
