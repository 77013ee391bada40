"""Open models by their lines: look up keys, start local servers, and stop them afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import InputError, RecipeError, nearest, require
from curate.recipe.endpoint import USUAL, endpoint_of
from curate.recipe.models import Model, named
from pipelines.clients.dispatcher import Dispatcher
from pipelines.clients.keys import api_key
from pipelines.clients.requests import SendRequests
from pipelines.clients.server import PARALLEL, embedded_weights, serve

if TYPE_CHECKING:
    from distilabel.models.llms.base import LLM

    from pipelines.clients.llms import Loop

LOCAL_TIMEOUT = 3600.0  # seconds per request to a server on this machine
ENDPOINTS = tuple(USUAL)
KINDS = (*ENDPOINTS, "transformers:", "gguf:", "embedded")


def check(model: Model, *, keys: bool = True) -> None:
    """
    Raise RecipeError for a line that names no model that takes requests, or whose key is missing (unless `keys` is
    False), and InputError for a GGUF file that does not exist.
    """
    kind = kind_of(model)
    if keys and kind in ENDPOINTS:
        _address_and_key(model)
    elif kind == "gguf:" and not Path(model.model.removeprefix("gguf:")).expanduser().is_file():
        raise InputError(f"{model.model} does not exist, or is not a file")


def kind_of(model: Model, known: Sequence[str] = KINDS) -> str:
    """The kind of a model's line, as in `known`: `openai:`, `embedded`, …. Raises RecipeError for any other."""
    kind, colon, name = model.model.partition(":")
    if kind + colon in known and bool(colon) == bool(name):
        return kind + colon
    shown = ", ".join(f"{kind}NAME" if kind.endswith(":") else kind for kind in known)
    hint = nearest(kind + colon, known) if kind + colon not in known else ""
    if not hint and not colon:
        hint = f" For an OpenAI-compatible endpoint write 'openai:{name or kind}'."
    raise RecipeError(f"unknown model {model.model!r}.{hint} Known: {shown}")


def connect(model: str | Model) -> "LLM":
    """
    Return a distilabel LLM for a line like `openai:MODEL@http://localhost:8000/v1`, for your own distilabel pipeline.

    A failure affects one request only, and equal requests are sent once. Only `openai:` and `inference:` are supported:
    the other kinds need a server or process that a run starts (`pipelines.run`).
    """
    from pipelines.clients.llms import ChatLLM

    spec = Model.model_validate(named(model)) if isinstance(model, str) else model
    if kind_of(spec) not in ENDPOINTS:
        raise RecipeError(f"{spec.model}: only openai: and inference: can be connected outside a run")
    base_url, key_env = _address_and_key(spec)
    return ChatLLM(spec=spec, base_url=base_url, key_env=key_env)


@contextmanager
def open_models(models: Sequence[Model], dispatcher: Dispatcher) -> Iterator[dict[str, SendRequests]]:
    """
    Keep the models open while the block runs; yields a function per model that sends requests, by the model's line.

    The functions raise like `Endpoint`; opening raises RecipeError, InputError, MissingExtra or ServiceError.
    """
    for model in models:
        check(model)
    _require_distilabel()
    from pipelines.clients.llms import Loop
    from pipelines.clients.tasks import ask

    with ExitStack() as stack:
        loop = Loop()
        stack.callback(loop.close)
        dispatcher.on_abort.append(loop.cancel)
        stack.callback(dispatcher.on_abort.remove, loop.cancel)
        clients: dict[str, SendRequests] = {}
        for model in models:
            if model.model in clients:
                continue
            llm = _open(model, dispatcher, loop, stack)
            llm.load()
            stack.callback(llm.unload)
            clients[model.model] = partial(ask, llm)
        yield clients


def _require_distilabel() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        require("distilabel", "generate")


def _open(model: Model, dispatcher: Dispatcher, loop: "Loop", stack: ExitStack) -> "LLM":
    from pipelines.clients.llms import ChatLLM, LocalLLM

    kind = kind_of(model)
    if kind == "transformers:":
        local = LocalLLM(spec=model)
        local.attach(dispatcher)
        return local
    if kind in ("gguf:", "embedded"):
        weights = embedded_weights() if kind == "embedded" else Path(model.model.removeprefix("gguf:")).expanduser()
        base_url, key_env = stack.enter_context(serve(weights)) + "/v1", None
        # Requests in the server's own queue would only age towards the timeout; and a slow machine is not a dead one.
        here = {"concurrency": min(model.concurrency or PARALLEL, PARALLEL), "timeout": model.timeout or LOCAL_TIMEOUT}
        model = model.model_copy(update=here)
    else:
        base_url, key_env = _address_and_key(model)
    llm = ChatLLM(spec=model, base_url=base_url, key_env=key_env)
    llm.attach(dispatcher, loop)
    return llm


def _address_and_key(model: Model) -> tuple[str, str | None]:
    """Address and key variable of an endpoint. Raise RecipeError if it needs a key that is not there."""
    endpoint = endpoint_of(model)
    assert endpoint is not None  # noqa: S101 - asked of endpoints only
    base_url, key, needed = endpoint
    if key is not None and needed and api_key(key) is None:
        login = ", nor is there a Hub login" if key == "HF_TOKEN" else ""
        raise RecipeError(f"{model.model}: the environment variable {key} is not set{login} (the key of {base_url})")
    return base_url, key
