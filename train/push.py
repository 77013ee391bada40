"""The model on the Hub, with its card. The token is the environment's or the Hub login's, and is written nowhere."""

from pathlib import Path

from curate.errors import InputError, ServiceError, require

KEPT_HERE = ("training_args.bin", "checkpoint-*")  # of this machine: paths stand in them


def push(model: Path, name: str) -> str:
    """Push a model's folder to OWNER/NAME, made if need be, in one commit; returns its address."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"--push {name!r}: expected OWNER/NAME")
    hub, errors = require("huggingface_hub", "hub"), require("huggingface_hub.errors", "hub")
    transport = require("httpx2", "hub").TransportError
    try:
        hub.HfApi().create_repo(name, exist_ok=True)
        commit = hub.HfApi().upload_folder(
            repo_id=name, folder_path=model, ignore_patterns=list(KEPT_HERE), commit_message="Model, card and tokenizer"
        )
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError, transport, OSError) as error:
        line = " ".join(str(error).split())[:200]
        raise ServiceError(f"the Hub did not take {name}: {line}; the model is whole in {model}") from error
    return str(commit.repo_url)
