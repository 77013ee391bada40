"""API keys, looked up when they are needed and never stored."""

import os

from curate.errors import require


def api_key(variable: str) -> str | None:
    """The key in an environment variable, for HF_TOKEN also that of the Hub login; null where there is none."""
    if variable in os.environ:
        return os.environ[variable]
    return require("huggingface_hub", "generate").get_token() if variable == "HF_TOKEN" else None
