"""A trained model to the Hub, in one commit: the name and the token are looked at before anything is trained."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from curate.errors import InputError
from curate.publish.hub import AT_ONCE, MAIN, MODEL, Hub, patiently, quiet
from curate.publish.names import check_repo
from curate.publish.repo_file import File
from curate.publish.secrets import own_tokens

# What an earlier push may have left there that would make a mixture of two models: an adapter's configuration beside a
# whole model, shards of a larger one. Only at the top; a folder, or a file of another name, stays.
OF_A_MODEL = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json", "config.json",
              "generation_config.json", "chat_template.jinja")  # fmt: skip
TEXTS = re.compile(r".*\.(?:json|jinja|md|txt)")


@dataclass(frozen=True, slots=True)
class PushedModel:
    """Where a model is now."""

    repo: str
    commit: str | None
    changed: bool
    files: Sequence[str]


def check_model_repo(repo: str, *, private: bool) -> None:
    """
    Make the repository, if it is not there, and look whether this token may write to it: nothing less is certain.

    Raises RecipeError and InputError for a name or token that will not do, ServiceError where the Hub does not answer.
    """
    check_repo(repo)
    hub = Hub(repo, MODEL)
    hub.check_writer()
    patiently(repo, lambda: hub.create(private=private), AT_ONCE)
    patiently(repo, hub.check_rights, AT_ONCE)


def push_model(repo: str, files: Sequence[File], message: str, *, private: bool) -> PushedModel:
    """Make these files the model of OWNER/NAME in one commit; nothing changed, no commit. Raises as `push` does."""
    for file in files:
        _check_tokens(file)
    hub = Hub(repo, MODEL)
    tried: list[bool] = []  # whether there was something to do, by attempt: after a lost answer the last finds all done
    with quiet():
        return patiently(repo, lambda: _attempt(hub, files, message, tried, private=private))


def _attempt(hub: Hub, files: Sequence[File], message: str, tried: list[bool], *, private: bool) -> PushedModel:
    """Look, then commit. A repetition looks anew: a commit whose answer was lost is found, not made twice."""
    remote = hub.look(MAIN)
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
    """Raise InputError where a text of it holds a token or key of this process."""
    if not TEXTS.fullmatch(file.path):
        return
    data = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    if any(token.encode() in data for token in own_tokens()):
        raise InputError(f"{file.path} holds a token or key of this machine's environment; nothing was pushed")
