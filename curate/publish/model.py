"""Push a trained model to the Hub in one commit. Name and token can be checked before training."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from curate.errors import InputError
from curate.publish.hub import FIRST_CALL_RETRIES, MAIN, MODEL, Hub, patiently, quiet
from curate.publish.names import check_repo
from curate.publish.repo_file import File
from curate.publish.secrets import own_tokens

# Files of an earlier push that would mix two models, such as an adapter's configuration or shards of a larger model.
# They are deleted at the top level only; folders and files with other names are kept.
OF_A_MODEL = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json",
              "generation_config.json", "chat_template.jinja")  # fmt: skip
TEXTS = re.compile(r".*\.(?:json|jinja|md|txt)")


@dataclass(frozen=True, slots=True)
class PushedModel:
    """The result of pushing a model."""

    repo: str
    commit: str | None
    changed: bool
    files: Sequence[str]


def check_model_repo(repo: str, *, private: bool) -> None:
    """
    Create the repository if it does not exist, and check that this token may write to it.

    Raise RecipeError or InputError for an unsuitable name or token, ServiceError if the Hub does not respond.
    """
    check_repo(repo)
    hub = Hub(repo, MODEL)
    hub.check_writer()
    patiently(repo, lambda: hub.create(private=private), FIRST_CALL_RETRIES)
    patiently(repo, hub.check_rights, FIRST_CALL_RETRIES)


def push_model(repo: str, files: Sequence[File], message: str, *, private: bool) -> PushedModel:
    """Publish these files as the model OWNER/NAME in one commit, if anything changed. Raise as `push` does."""
    for file in files:
        _check_tokens(file)
    hub = Hub(repo, MODEL)
    tried: list[bool] = []  # per attempt, whether there were changes: after a lost response the last one finds none
    with quiet():
        return patiently(repo, lambda: _attempt(hub, files, message, tried, private=private))


def _attempt(hub: Hub, files: Sequence[File], message: str, tried: list[bool], *, private: bool) -> PushedModel:
    """Take a snapshot and commit. A retry takes a new one, so that a commit whose response was lost is not repeated."""
    remote = hub.snapshot(MAIN)
    if remote.sha is None:
        hub.create(private=private)
        return _attempt(hub, files, message, tried, private=private)
    adds = [file for file in files if not file.is_known_as(remote.files.get(file.path, set()))]
    ours = {file.path for file in files}
    others = sorted(set(remote.files) - ours)
    deletes = [path for path in others if "/" not in path and any(fnmatch(path, name) for name in OF_A_MODEL)]
    tried.append(bool(adds or deletes))
    commit, _ = hub.commit(remote.sha, adds, deletes, message) if tried[-1] else (remote.sha, None)
    return PushedModel(hub.repo, commit, any(tried), sorted(ours))


def _check_tokens(file: File) -> None:
    """Raise InputError if a text file contains a token or key of this process."""
    if not TEXTS.fullmatch(file.path):
        return
    data = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    if any(token.encode() in data for token in own_tokens()):
        raise InputError(f"{file.path} contains a token or key from the environment; nothing was pushed")
