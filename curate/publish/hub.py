"""Hub client: a snapshot of the remote repository, and retries for transient errors."""

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
from curate.publish import secrets
from curate.publish.repo_file import File
from curate.terminal import is_watched, say

# Seconds before each retry, for errors that the clients do not retry themselves (409, 412, 429, 5xx on a commit).
WAITS = (0.5, 1, 2, 4, 8, 15, 30)
FIRST_CALL_RETRIES = 4  # fewer for the first call, to report a missing network soon
SCALE = "PREFCURATE_HUB_WAIT"  # environment variable that scales the waits: 0.1 for a Hub of your own next door
LONGEST = 60.0  # maximum wait in seconds, even for a longer Retry-After
TRANSIENT = {408, 409, 412, 425, 429}  # and every 5xx
DATASET, MODEL = "dataset", "model"
MAIN = "main"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository at one commit."""

    sha: str | None = None  # None = the repository does not exist
    files: dict[str, set[str]] = field(default_factory=dict)  # path → hashes of its content
    card: str = ""
    branch_missing: bool = False  # the files are those of main, from which the branch will be created
    tags: dict[str, str] = field(default_factory=dict)  # tag → commit


class Hub:
    """One repository, accessed with the token of the environment or of the Hub login."""

    def __init__(self, repo: str, kind: str = DATASET) -> None:
        self.repo, self.kind = repo, kind
        self.api: Any = require("huggingface_hub", "hub").HfApi()

    def check_writer(self) -> str:
        """Return the name of the token's owner. Raise InputError for a missing, invalid or read-only token."""
        hub = require("huggingface_hub", "hub")
        advice = "log in with `hf auth login`, or set HF_TOKEN to a token with write rights"
        if not hub.get_token():
            raise InputError(f"no token for the Hub: {advice}")
        who = patiently(self.repo, self.api.whoami, FIRST_CALL_RETRIES)
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise InputError(f"the token of {who['name']} is read-only; {advice}")
        name: str = who["name"]
        return name

    def snapshot(self, revision: str) -> Remote:
        """Return the current state of the repository at a branch or pull request."""
        errors = require("huggingface_hub.errors", "hub")
        missing = False
        try:
            info = self.api.repo_info(self.repo, repo_type=self.kind, revision=revision)
        except errors.RevisionNotFoundError:
            info, missing = self.api.repo_info(self.repo, repo_type=self.kind, revision=MAIN), True
        except errors.RepositoryNotFoundError:
            return Remote()
        entries = self.api.list_repo_tree(self.repo, repo_type=self.kind, revision=info.sha, recursive=True)
        files = {e.path: {e.blob_id, *([e.lfs.sha256] if e.lfs else [])} for e in entries if hasattr(e, "blob_id")}
        refs = self.api.list_repo_refs(self.repo, repo_type=self.kind)
        card = self.read("README.md", info.sha).decode("utf-8", "replace") if "README.md" in files else ""
        return Remote(info.sha, files, card, missing, {tag.name: tag.target_commit for tag in refs.tags})

    def read(self, path: str, revision: str) -> bytes:
        """Return the content of a small file."""
        return Path(self.api.hf_hub_download(self.repo, path, repo_type=self.kind, revision=revision)).read_bytes()

    def open(self, path: str, revision: str) -> Any:
        """Open a file to read parts of it."""
        files = require("huggingface_hub", "hub").HfFileSystem(skip_instance_cache=True)
        folder = "" if self.kind == MODEL else f"{self.kind}s/"
        return files.open(f"{folder}{self.repo}@{revision}/{path}", "rb")

    def create(self, *, private: bool) -> None:
        """Create the repository if it does not exist. Raise InputError if the name is taken and not accessible."""
        errors = require("huggingface_hub.errors", "hub")
        self.api.create_repo(self.repo, repo_type=self.kind, private=private, exist_ok=True)
        try:
            self.api.repo_info(self.repo, repo_type=self.kind)
        except errors.RepositoryNotFoundError as error:
            raise InputError(f"{self.repo} is taken, and this token cannot see it; choose another name") from error

    def check_rights(self) -> None:
        """Check that the token may write to the existing repository; the client raises if not."""
        self.api.auth_check(self.repo, repo_type=self.kind, write=True)

    def commit(
        self, parent: str | None, adds: Sequence[File], deletes: Sequence[str], message: str,
        revision: str = MAIN, *, pr: bool = False,
    ) -> tuple[str, str | None]:  # fmt: skip
        """
        Create one commit on `parent`; the Hub rejects it (412) if there was another commit since. Return its sha, and
        the URL of the pull request or None.
        """
        api = require("huggingface_hub", "hub")
        operations = [_operation(api, file) for file in adds]
        operations += [api.CommitOperationDelete(path, is_folder=False) for path in deletes]
        commit = self.api.create_commit(
            self.repo, operations, commit_message=message, repo_type=self.kind, revision=revision,
            parent_commit=parent, create_pr=pr,
        )  # fmt: skip
        return commit.oid, commit.pr_url

    def pulls(self, title: str) -> Iterator[tuple[str, str]]:
        """Yield revision and URL of open pull requests with this title."""
        found = self.api.get_repo_discussions(
            self.repo, repo_type=self.kind, discussion_type="pull_request", discussion_status="open"
        )
        yield from ((f"refs/pr/{pull.num}", pull.url) for pull in found if pull.title == title)


def patiently(what: str, call: Callable[[], T], retries: int = len(WAITS)) -> T:
    """Retry a call on transient errors. Raise InputError or ServiceError with one line that contains no token."""
    for wait in (*WAITS[:retries], None):
        try:
            return call()
        except CurateError:
            raise
        except Exception as error:  # noqa: BLE001 - the clients raise many types, each is examined
            asked = _retry_after(error)
            if asked is None or wait is None:
                raise _explained(what, error) from None  # the chain may show headers
            seconds = min(max(wait * _scale(), asked), LONGEST)
            say(f"{what}: {_line(error)}; retrying in {seconds:.0f} s")
            time.sleep(seconds)
    raise AssertionError("unreachable")


def _scale() -> float:
    given = os.environ.get(SCALE, "")
    return float(given) if re.fullmatch(r"\d*\.?\d+", given) else 1.0


def quiet() -> AbstractContextManager[Any]:
    """Return a context without the client's progress bars, unless standard error is a terminal."""
    if is_watched():
        return nullcontext()
    silent: AbstractContextManager[Any] = require("huggingface_hub.utils", "hub").disable_progress_bars()
    return silent


def _operation(api: Any, file: File) -> Any:
    operation = api.CommitOperationAdd(file.path, file.content)
    operation.upload_info.sha256 = bytes.fromhex(file.sha256)  # known already, so that large files are not read twice
    return operation


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> Any:
    """Return the HTTP response behind an error, or None."""
    return next((found for e in _chain(error) if (found := getattr(e, "response", None)) is not None), None)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds the server asks to wait after a transient error (0 = not specified); None for others."""
    answer = _status(error)
    if answer is not None:
        asked = answer.headers.get("retry-after", "0")
        passes = answer.status_code in TRANSIENT or answer.status_code >= 500
        return (float(asked) if asked.isdigit() else 0.0) if passes else None
    lost = (require("httpx2", "hub").TransportError, ConnectionError, TimeoutError, json.JSONDecodeError)
    return 0.0 if any(isinstance(e, lost) for e in _chain(error)) else None


def _explained(what: str, error: BaseException) -> CurateError:
    answer = _status(error)
    code = answer.status_code if answer is not None else None
    if code == 401:
        return InputError(f"{what}: the Hub rejects this token; log in with `hf auth login`, or set HF_TOKEN")
    if code == 403:
        return InputError(f"{what}: this token lacks the permission: {_line(error)}")
    if code is not None and code < 500 and code not in TRANSIENT:
        return InputError(f"{what}: {_line(error)}")
    if _retry_after(error) is not None or isinstance(error, OSError):
        reached = answer is not None or isinstance(error, json.JSONDecodeError)
        problem = "unexpected response of the Hub" if reached else "the Hub cannot be reached"
        return ServiceError(f"{what}: {problem}: {_line(error)}")
    if isinstance(error, ValueError):
        return InputError(f"{what}: {_line(error)}")
    return ServiceError(f"{what}: {type(error).__name__}: {_line(error)}")


def _line(error: BaseException) -> str:
    """Return an error as one line, with tokens replaced."""
    text = " ".join(str(error).split())[:300]
    for token in secrets.own_tokens():
        text = text.replace(token, "***")
    return text or type(error).__name__
