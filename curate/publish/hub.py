"""What is at the other end: the repository as it is now, and a way through its faults."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from curate.errors import CurateError, InputError, ServiceError, require
from curate.progress import is_watched, say
from curate.publish import secrets
from curate.publish.repo_file import File

# Seconds before each further attempt: what the clients do not survive by themselves (409, 412, 429, 5xx on a commit).
# PREFCURATE_HUB_WAIT scales them: 0.1 for a Hub of your own next door.
_SCALE = os.environ.get("PREFCURATE_HUB_WAIT", "")
WAITS = tuple((float(_SCALE) if re.fullmatch(r"\d*\.?\d+", _SCALE) else 1.0) * s for s in (0.5, 1, 2, 4, 8, 15, 30))
AT_ONCE = WAITS[:4]  # for the first call: that there is no network shows soon
LONGEST = 60.0  # seconds, whatever Retry-After says
PASSING = {408, 409, 412, 425, 429}  # and every 5xx
DATASET, MODEL = "dataset", "model"
MAIN = "main"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at one commit."""

    sha: str | None = None  # null = there is no repository yet
    files: dict[str, set[str]] = field(default_factory=dict)  # path → the hashes by which its content is known
    card: str = ""
    branch_missing: bool = False  # the files are main's, from which the branch will start
    tags: dict[str, str] = field(default_factory=dict)  # tag → commit


class Hub:
    """One repository, spoken to with the token of the environment or the Hub's login."""

    def __init__(self, repo: str, kind: str = DATASET) -> None:
        self.repo, self.kind = repo, kind
        self.api: Any = require("huggingface_hub", "hub").HfApi()

    def check_writer(self) -> str:
        """Whose token it is. Raises InputError for no token, one that is not valid, or one that only reads."""
        hub = require("huggingface_hub", "hub")
        with_rights = "log in with `hf auth login`, or set HF_TOKEN to a token with write rights"
        if not hub.get_token():
            raise InputError(f"no token for the Hub: {with_rights}")
        who = patiently(self.repo, self.api.whoami, AT_ONCE)
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise InputError(f"the token of {who['name']} only reads; {with_rights}")
        name: str = who["name"]
        return name

    def look(self, revision: str) -> Remote:
        """The repository at a branch (or pull request) now."""
        errors = require("huggingface_hub.errors", "hub")
        missing = False
        try:
            info = self.api.repo_info(self.repo, repo_type=self.kind, revision=revision)
        except errors.RevisionNotFoundError:
            info, missing = self.api.repo_info(self.repo, repo_type=self.kind, revision=MAIN), True
        except errors.RepositoryNotFoundError:
            return Remote()
        entries = self.api.list_repo_tree(self.repo, repo_type=self.kind, revision=info.sha, recursive=True)
        files = {entry.path: _hashes(entry) for entry in entries if hasattr(entry, "blob_id")}
        refs = self.api.list_repo_refs(self.repo, repo_type=self.kind)
        card = self.read("README.md", info.sha).decode("utf-8", "replace") if "README.md" in files else ""
        return Remote(info.sha, files, card, missing, {tag.name: tag.target_commit for tag in refs.tags})

    def read(self, path: str, revision: str) -> bytes:
        """A small file."""
        return Path(self.api.hf_hub_download(self.repo, path, repo_type=self.kind, revision=revision)).read_bytes()

    def open(self, path: str, revision: str) -> Any:
        """A file to read parts of."""
        files = require("huggingface_hub", "hub").HfFileSystem(skip_instance_cache=True)
        folder = "" if self.kind == MODEL else f"{self.kind}s/"
        return files.open(f"{folder}{self.repo}@{revision}/{path}", "rb")

    def create(self, *, private: bool) -> None:
        """Make the repository. Raises InputError where the name is taken by what we cannot see."""
        errors = require("huggingface_hub.errors", "hub")
        self.api.create_repo(self.repo, repo_type=self.kind, private=private, exist_ok=True)
        try:
            self.api.repo_info(self.repo, repo_type=self.kind)
        except errors.RepositoryNotFoundError as error:
            raise InputError(f"{self.repo} is taken, and this token cannot see it; choose another name") from error

    def check_rights(self) -> None:
        """Ask whether this token may write to the repository, which is there; the client raises where it may not."""
        self.api.auth_check(self.repo, repo_type=self.kind, write=True)

    def commit(
        self, parent: str | None, adds: Sequence[File], deletes: Sequence[str], message: str,
        revision: str = MAIN, *, pr: bool = False,
    ) -> tuple[str, str | None]:  # fmt: skip
        """
        One commit on top of what was looked at: had someone else committed since, the Hub refuses it (412).
        Returns its sha, and the address of the pull request.
        """
        api = require("huggingface_hub", "hub")
        operations = [_operation(api, file) for file in adds]
        operations += [api.CommitOperationDelete(path, is_folder=False) for path in deletes]
        made = self.api.create_commit(
            self.repo, operations, commit_message=message, repo_type=self.kind, revision=revision,
            parent_commit=parent, create_pr=pr,
        )  # fmt: skip
        return made.oid, made.pr_url

    def pulls(self, title: str) -> Iterator[tuple[str, str]]:
        """Open pull requests of that title: revision, address."""
        found = self.api.get_repo_discussions(
            self.repo, repo_type=self.kind, discussion_type="pull_request", discussion_status="open"
        )
        yield from ((f"refs/pr/{pull.num}", pull.url) for pull in found if pull.title == title)


def patiently(what: str, call: Callable[[], T], waits: tuple[float, ...] | None = None) -> T:
    """Call again after what passes. Raises InputError or ServiceError in one line, without any token in it."""
    for wait in (*(WAITS if waits is None else waits), None):
        try:
            return call()
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - the clients raise of many kinds, each is looked at
            seconds = _passing(error)
            if seconds is None or wait is None:
                raise _explained(what, error) from None  # its chain may show headers
            say(f"{what}: {_line(error)}; again in {max(wait, seconds):.0f} s")
            time.sleep(min(max(wait, seconds), LONGEST))
    raise AssertionError("unreachable")


def quiet() -> AbstractContextManager[Any]:
    """No bars of the client's where nobody watches."""
    if is_watched():
        return nullcontext()
    silent: AbstractContextManager[Any] = require("huggingface_hub.utils", "hub").disable_progress_bars()
    return silent


def _operation(api: Any, file: File) -> Any:
    operation = api.CommitOperationAdd(file.path, file.content)
    operation.upload_info.sha256 = bytes.fromhex(file.sha256)  # known: large files are not read twice for it
    return operation


def _hashes(entry: Any) -> set[str]:
    return {entry.blob_id, entry.lfs.sha256} if entry.lfs else {entry.blob_id}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> Any:
    """The answer behind an error, where there was one."""
    return next((found for e in _chain(error) if (found := getattr(e, "response", None)) is not None), None)


def _passing(error: BaseException) -> float | None:
    """Seconds that the server asks to wait where the error may pass (0 = it does not say); None where it will not."""
    answer = _status(error)
    if answer is not None:
        asked = answer.headers.get("retry-after", "0")
        passes = answer.status_code in PASSING or answer.status_code >= 500
        return (float(asked) if asked.isdigit() else 0.0) if passes else None
    lost = (require("httpx2", "hub").TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    return 0.0 if any(isinstance(e, lost) for e in _chain(error)) else None


def _explained(what: str, error: BaseException) -> CurateError:
    answer = _status(error)
    code = answer.status_code if answer is not None else None
    if code == 401:
        return InputError(f"{what}: the Hub does not know this token; log in with `hf auth login`, or set HF_TOKEN")
    if code == 403:
        return InputError(f"{what}: this token has no right to do that: {_line(error)}")
    if code is not None and code < 500 and code not in PASSING:
        return InputError(f"{what}: {_line(error)}")
    if _passing(error) is not None or isinstance(error, OSError):
        return ServiceError(f"{what}: the Hub does not answer as it should: {_line(error)}")
    return InputError(f"{what}: {_line(error)}") if isinstance(error, ValueError) else _defect(what, error)


def _defect(what: str, error: BaseException) -> CurateError:
    return ServiceError(f"{what}: {type(error).__name__}: {_line(error)}")


def _line(error: BaseException) -> str:
    """An error in one line, with no token in it."""
    text = " ".join(str(error).split())[:300]
    for token in secrets.own_tokens():
        text = text.replace(token, "***")
    return text or type(error).__name__
