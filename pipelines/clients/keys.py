"""API keys, looked up when they are needed and never stored, and which addresses are of the same server."""

import os
from urllib.parse import urlsplit

from curate.errors import RecipeError, require

PORTS = {"http": 80, "https": 443}


def api_key(variable: str) -> str | None:
    """The key in an environment variable, for HF_TOKEN also that of the Hub login; null where there is none."""
    if variable in os.environ:
        return os.environ[variable]
    return require("huggingface_hub", "generate").get_token() if variable == "HF_TOKEN" else None


def same_origin(one: str, other: str) -> bool:
    """Return whether two addresses have the same scheme, host and port. Raise RecipeError for one that is broken."""
    return _origin(one) == _origin(other)


def _origin(address: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError as error:
        raise RecipeError(f"{address!r} is not the address of an endpoint: {error}") from error
