"""Where the requests of a model go, and which key goes with them."""

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from curate.errors import RecipeError
from curate.recipe.models import Model

OPENAI, INFERENCE = "https://api.openai.com/v1", "https://router.huggingface.co/v1"
USUAL = {"openai:": (OPENAI, "OPENAI_API_KEY"), "inference:": (INFERENCE, "HF_TOKEN")}
PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """An address, the environment variable with its key (null = none is sent), and whether it answers only with one."""

    base_url: str
    key: str | None
    key_needed: bool

    @property
    def shown(self) -> str:
        """The address without a user name or password in it."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def endpoint_of(model: Model) -> Endpoint | None:
    """
    Return where the requests of a model go, or None for a model on this machine.

    A key goes by default only to the host it belongs to: OPENAI_API_KEY to OpenAI (or to OPENAI_BASE_URL, which the
    user sets beside it), HF_TOKEN and the Hub login to the Hub's router. Another address gets a key only where
    `api_key_env` names it. Raises RecipeError for a broken address.

        endpoint_of(named_model("openai:gpt-4o"))  # Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY", True)
    """
    kind = model.model.partition(":")[0] + ":"
    if kind not in USUAL:
        return None
    public, usual_key = USUAL[kind]
    usual = os.environ.get("OPENAI_BASE_URL", OPENAI) if public == OPENAI else public
    base_url = model.base_url or usual
    key = model.api_key_env or (usual_key if same_origin(base_url, usual) else None)
    needed = model.api_key_env is not None or same_origin(base_url, public)  # a local server may do without
    return Endpoint(base_url, key, key is not None and needed)


def same_origin(one: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host and port. Raise RecipeError for one that is broken."""
    return origin(one) == origin(other)


def origin(address: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of an address. Raise RecipeError for one that is broken."""
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError as error:
        raise RecipeError(f"{address!r} is not the address of an endpoint: {error}") from error
