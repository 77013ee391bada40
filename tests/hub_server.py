"""
A small Hugging Face Hub on loopback, so that tests run the real clients instead of mocks: reading, and all that a push
calls (create, preupload, LFS, validate-yaml, commit, branches, tags, pull requests). It can fail on demand.
"""

import asyncio
import base64
import hashlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import unquote

import uvicorn
import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

Files = Mapping[str, "bytes | Path"]
Tree = dict[str, "bytes | Path"]
READ, WRITE = "hf_reader", "hf_writer"  # tokens; any other is invalid
LARGE = 10 << 10  # bytes from which a file goes to LFS; parquet always does
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "cc0-1.0", "other"}
CHUNK = 1 << 20


@dataclass
class Commit:
    """A state of the files, with its title and parent."""

    sha: str
    files: Tree
    title: str = ""
    parent: str | None = None


@dataclass
class Repo:
    """Commits by sha, and the shas of branches and tags."""

    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)

    def at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, tag, pull request or sha."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)

    def commit(self, revision: str, files: Files, title: str = "", parent: str | None = None) -> str:
        """Make these the files of a branch; earlier commits stay readable, as clients pin them."""
        parent = parent or self.branches.get(revision, "")
        named = sorted((path, git_oid(data)) for path, data in files.items())
        sha = hashlib.sha1(json.dumps([parent, named, title, len(self.commits)]).encode()).hexdigest()
        self.commits[sha] = Commit(sha, dict(files), title, parent)
        self.branches[revision] = sha
        return sha

    def history(self, revision: str = "main") -> list[Commit]:
        """Return the commits of a branch, newest first."""
        found, sha = [], self.branches.get(revision, "")
        while sha:
            found.append(self.commits[sha])
            sha = self.commits[sha].parent or ""
        return found


@dataclass
class Fault:
    """A fault of the next requests whose address contains `at`."""

    at: str
    # a status ("503"), drop, lost (done, but never answered), slow, hang, race (another commit comes first)
    kind: str
    times: int = 1
    made: int = 0  # how often it happened


class DroppableProtocol(H11Protocol):
    """Connections that can be cut during a request."""

    open: dict[tuple[str, int], "DroppableProtocol"] = {}  # noqa: RUF012 - shared by all

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.client:
            self.open[self.client] = self


class HubServer:
    """Serve `{"owner/name": {path: bytes}}`; a mapping instead of bytes holds the files of another revision."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes | Files]] | None = None, kind: str = "datasets") -> None:
        """Listen at once, on a free port, so that `url` is known before the first request."""
        self.kind = kind  # datasets or models; repositories of the other kind are not found
        self.prefix = [] if kind == "models" else [kind]  # of addresses outside the API
        self.repos: dict[str, Repo] = {}
        self.requests: list[tuple[str, str]] = []  # (method, path and query as sent)
        self.faults: list[Fault] = []
        self.uploads: list[str] = []  # oids that were sent completely
        self.known: set[str] = set()  # oids that need not be sent
        self.organisations = {"me": "write", "ours": "write", "theirs": "read"}
        self._folder = tempfile.TemporaryDirectory()
        self.blobs = Path(self._folder.name)
        for repo_id, content in (repos or {}).items():
            self.commit(repo_id, {path: data for path, data in content.items() if isinstance(data, (bytes, Path))})
            for revision, files in content.items():
                if not isinstance(files, (bytes, Path)):
                    self.commit(repo_id, files, revision)
        config = uvicorn.Config(
            self.answer, host="127.0.0.1", port=0, http=DroppableProtocol, log_level="critical", lifespan="off",
            ws="none", timeout_keep_alive=1, interface="asgi3",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._socket = config.bind_socket()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each response waits 40 ms for an ACK
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def commit(self, repo_id: str, files: Files, revision: str = "main") -> str:
        """Make these the files of a branch, and return the sha."""
        return self.repos.setdefault(repo_id, Repo()).commit(revision, files)

    def forget_blobs(self) -> None:
        """Forget all blobs, so that each is sent again; commits keep theirs."""
        self.known.clear()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: self._server.run([self._socket]), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        """Free the port, after which a client's connection is refused."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()
        self._folder.cleanup()

    # ---- requests

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Log the request, apply its fault if there is one, and answer."""
        request = Request(scope, receive)
        path = scope["raw_path"].decode()  # the %2F in refs%2Fpr%2F1 does not end a revision
        query = scope["query_string"].decode()
        self.requests.append((scope["method"], f"{path}?{query}" if query else path))
        fault = next((fault for fault in self.faults if fault.times > 0 and fault.at in path), None)
        if fault:
            fault.times, fault.made = fault.times - 1, fault.made + 1
            if fault.kind == "drop":
                async for _ in request.stream():
                    break  # in the middle of an upload
                return self._cut(scope)
            if fault.kind in ("slow", "hang"):
                await asyncio.sleep(0.1 if fault.kind == "slow" else 600)
            if fault.kind == "race":
                self._someone_else(path)
            if fault.kind.isdigit():
                headers = {"Retry-After": "0"} if fault.kind == "429" else {}
                answer: Response = JSONResponse({"error": "not today"}, int(fault.kind), headers)
                return await answer(scope, receive, send)
        answer = await self._route(request, path)
        if fault and fault.kind == "lost":
            return self._cut(scope)
        return await answer(scope, receive, send)

    def _cut(self, scope: Any) -> None:
        DroppableProtocol.open[tuple(scope["client"])].transport.abort()

    def _someone_else(self, path: str) -> None:
        """Add another commit to main, just before this one."""
        parts = path.split("/")
        repo = self.repos["/".join(parts[3:5])]
        files = repo.commits[repo.branches["main"]].files
        repo.commit("main", {**files, "NOTES.md": f"{len(repo.commits)}".encode()}, "someone else")

    async def _route(self, request: Request, path: str) -> Response:  # noqa: PLR0911 - a table of routes
        match path.strip("/").split("/"):
            case ["api", "whoami-v2"]:
                return self._whoami(request)
            case ["api", "repos", "create"]:
                return self._create(request, await request.json())
            case ["api", "validate-yaml"]:
                return validate(await request.json())
            case ["blobs", oid]:
                return await self._store(request, oid)
            case ["blobs", _, "verify"]:
                return JSONResponse({})
            case [*prefix, owner, name, "info", "lfs", "objects", "batch"] if prefix == self.prefix:
                return self._batch(request, f"{owner}/{name.removesuffix('.git')}", await request.json())
            case ["api", self.kind, owner, name, *call] if f"{owner}/{name}" in self.repos:
                return await self._api(request, f"{owner}/{name}", [unquote(part) for part in call])
            case [self.kind, owner, name, "resolve", *rest]:
                return self._resolve(request, f"{owner}/{name}", rest)
            case [owner, name, "resolve", *rest] if self.kind == "models":
                return self._resolve(request, f"{owner}/{name}", rest)
        return missing("RepoNotFound" if path.startswith(f"/api/{self.kind}") else "NotServed", path)

    async def _api(self, request: Request, repo_id: str, call: list[str]) -> Response:  # noqa: C901, PLR0911
        repo = self.repos[repo_id]
        if request.method == "POST" and (denied := self._denied(request, repo_id)):
            return denied
        match call:
            case [] | ["revision", _]:
                commit = repo.at(call[1] if call else "main")
                return self._info(repo_id, repo, commit) if commit else missing("RevisionNotFound", repo_id)
            case ["tree", revision, *folder]:
                commit = repo.at(revision)
                if not commit:
                    return missing("RevisionNotFound", repo_id)
                entries = tree(commit.files, "/".join(folder), recursive="recursive" in request.url.query)
                return JSONResponse(entries) if entries or not folder else missing("EntryNotFound", repo_id)
            case ["paths-info", revision]:
                return await self._paths(request, repo.at(revision))
            case ["refs"]:
                named = {kind: getattr(repo, kind) for kind in ("branches", "tags")}
                refs = {k: [{"name": n, "ref": n, "targetCommit": s} for n, s in v.items()] for k, v in named.items()}
                return JSONResponse({**refs, "converts": [], "pullRequests": []})
            case ["preupload", _]:
                files = (await request.json())["files"]
                return JSONResponse({"files": [self._mode(file) for file in files]})
            case ["commit", revision]:
                return self._commit(repo_id, revision, await request.body(), pull="create_pr" in request.url.query)
            case ["branch", name]:
                start = (await request.json()).get("startingPoint", "main")
                return self._ref(repo.branches, name, repo.at(start))
            case ["tag", revision]:
                return self._ref(repo.tags, (await request.json())["tag"], repo.at(revision))
            case ["auth-check", "write"]:
                return self._denied(request, repo_id) or JSONResponse({})
            case ["discussions"]:
                return JSONResponse({"count": len(repo.pulls), "start": 0, "discussions": repo.pulls})
        return missing("NotServed", "/".join(call))

    # ---- permissions

    def _whoami(self, request: Request) -> Response:
        token = token_of(request)
        if token not in (READ, WRITE):
            return JSONResponse({"error": "Invalid user token."}, 401)
        role = "read" if token == READ else "write"
        return JSONResponse({"name": "me", "type": "user", "auth": {"accessToken": {"role": role}}, "orgs": []})

    def _denied(self, request: Request, repo_id: str) -> Response | None:
        if token_of(request) not in (READ, WRITE):
            return JSONResponse({"error": "Invalid user token."}, 401)
        owner = repo_id.partition("/")[0]
        if token_of(request) == READ or self.organisations.get(owner) != "write":
            return JSONResponse({"error": f"You don't have the rights to write under {owner}"}, 403)
        return None

    # ---- writing

    def _create(self, request: Request, wanted: Mapping[str, Any]) -> Response:
        repo_id = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if f"{wanted['type']}s" != self.kind:
            return missing("NotServed", wanted["type"])
        if denied := self._denied(request, repo_id):
            return denied
        url = "/".join([self.url, *self.prefix, repo_id])
        if repo_id in self.repos or wanted["name"] == "taken":
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        repo = self.repos[repo_id] = Repo(private=wanted.get("visibility") == "private")
        repo.commit("main", {".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    def _mode(self, file: Mapping[str, Any]) -> dict[str, Any]:
        large = file["path"].endswith(".parquet") or file["size"] > LARGE
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

    def _batch(self, request: Request, repo_id: str, wanted: Mapping[str, Any]) -> Response:
        if denied := self._denied(request, repo_id):
            return denied
        objects = []
        for item in wanted["objects"]:
            href = f"{self.url}/blobs/{item['oid']}"
            actions = {"actions": {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}}
            objects.append({**item, **({} if item["oid"] in self.known else actions)})
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def _store(self, request: Request, oid: str) -> Response:
        """Store a blob; it is known once it is complete and has the hash that its name says."""
        found, coming = hashlib.sha256(), self.blobs / f"{oid}.{time.monotonic_ns()}"
        with coming.open("wb") as file:
            async for chunk in request.stream():
                found.update(chunk)
                file.write(chunk)
        if found.hexdigest() != oid:
            coming.unlink()
            return JSONResponse({"error": "checksum"}, 400)
        coming.rename(self.blobs / oid)
        self.uploads.append(oid)
        self.known.add(oid)
        return Response()

    def _commit(self, repo_id: str, revision: str, body: bytes, *, pull: bool) -> Response:
        repo, title, parent = self.repos[repo_id], "", None
        base = repo.at(revision)
        if base is None:
            return missing("RevisionNotFound", repo_id)
        files = dict(base.files)
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    title, parent = value["summary"], value.get("parentCommit")
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    if value["oid"] not in self.known:
                        return JSONResponse({"error": f"no such LFS object: {value['oid']}"}, 400)
                    files[value["path"]] = self.blobs / value["oid"]
                case "deletedFile":
                    del files[value["path"]]
        if parent and parent != base.sha:
            return JSONResponse({"error": "The branch has moved since"}, 412)
        url = "/".join([self.url, *self.prefix, repo_id])
        answer: dict[str, Any] = {"success": True}
        if pull:
            number = len(repo.pulls) + 1
            sha = repo.commit(f"refs/pr/{number}", files, title, base.sha)
            repo.pulls.append(pull_request(repo_id, number, title))
            answer |= {"pullRequestUrl": f"{url}/discussions/{number}"}
        else:
            sha = repo.commit(revision, files, title)
        return JSONResponse({**answer, "commitOid": sha, "commitUrl": f"{url}/commit/{sha}"})

    def _ref(self, refs: dict[str, str], name: str, commit: Commit | None) -> Response:
        if commit is None:
            return missing("RevisionNotFound", name)
        if name in refs:
            return JSONResponse({"error": "Reference already exists"}, 409)
        refs[name] = commit.sha
        return JSONResponse({})

    # ---- reading

    def _info(self, repo_id: str, repo: Repo, commit: Commit) -> Response:
        siblings = [{"rfilename": path} for path in commit.files]
        card = read(commit.files.get("README.md", b"")).decode("utf-8", "replace")
        try:
            header = yaml.safe_load(card.split("---\n")[1]) if card.startswith("---\n") else None
        except yaml.YAMLError:  # the Hub shows such a repository without a card
            header = None
        about = {"id": repo_id, "sha": commit.sha, "private": repo.private, "siblings": siblings}
        return JSONResponse({**about, **({"cardData": header} if header else {})})

    async def _paths(self, request: Request, commit: Commit | None) -> Response:
        wanted = (await request.form()).getlist("paths") or (await request.json())["paths"]
        entries = tree(commit.files if commit else {}, "", recursive=True)
        return JSONResponse([entry for entry in entries if entry["path"] in wanted])

    def _resolve(self, request: Request, repo_id: str, rest: list[str]) -> Response:
        revision, path = unquote(rest[0]), unquote("/".join(rest[1:]))
        repo = self.repos.get(repo_id)
        commit = repo.at(revision) if repo else None
        if commit is None:
            return missing("RevisionNotFound" if repo else "RepoNotFound", repo_id)
        if path not in commit.files:
            return missing("EntryNotFound", path)
        return send_file(request, commit.sha, commit.files[path])


def send_file(request: Request, sha: str, data: "bytes | Path") -> Response:
    """Send a file, or the requested range of it: parquet readers fetch ranges."""
    total = size(data)
    headers = {"X-Repo-Commit": sha, "ETag": f'"{etag(data)}"', "Accept-Ranges": "bytes"}
    start, end, status = 0, total, 200
    if span := request.headers.get("range"):
        first, _, last = span.removeprefix("bytes=").partition("-")
        start, end, status = int(first), min(int(last) + 1, total) if last else total, 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{total}"
        if start >= total:
            return Response(b"", 416, {**headers, "Content-Range": f"bytes */{total}"})
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(None, status, headers)
    return StreamingResponse(chunks(data, start, end), status, headers)


async def chunks(data: "bytes | Path", start: int, end: int) -> AsyncIterator[bytes]:
    """Yield the bytes from start to end in chunks."""
    if isinstance(data, bytes):
        yield data[start:end]
        return
    with data.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            start += len(chunk)
            yield chunk


def missing(code: str, what: str) -> Response:
    """Return a 404; the clients choose their exception type by the code."""
    return JSONResponse({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": f"{code}: {what}"})


def token_of(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def validate(wanted: Mapping[str, Any]) -> Response:
    """Refuse what the Hub refuses in a header: invalid YAML, unknown licences, configs without files."""
    errors = []
    parts = wanted["content"].split("---\n")
    try:
        header = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
    except yaml.YAMLError as error:
        header = {}
        errors.append(str(error))
    if header.get("license", "mit") not in LICENCES:
        errors.append(f'"license" must be one of {sorted(LICENCES)}')
    for config in header.get("configs", []):
        if not config.get("config_name") or not all(file["path"] for file in config.get("data_files", [])):
            errors.append('"configs" need a name and files')
    messages = [{"message": error} for error in errors]
    return JSONResponse({"errors": messages, "warnings": []}, 400 if errors else 200)


def pull_request(repo_id: str, number: int, title: str) -> dict[str, Any]:
    return {
        "title": title, "num": number, "author": {"name": "me"}, "createdAt": "2026-01-01T00:00:00.000Z",
        "status": "open", "repo": {"name": repo_id, "type": "dataset"}, "isPullRequest": True,
    }  # fmt: skip


def read(data: "bytes | Path") -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()


def size(data: "bytes | Path") -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


def etag(data: "bytes | Path") -> str:
    """Return a large file's sha256, which is its name in the store, or a small one's git hash."""
    return git_oid(data) if isinstance(data, bytes) else data.name


def git_oid(data: "bytes | Path") -> str:
    """Name content by its hash, as git does; clients store a file under this name."""
    content = data if isinstance(data, bytes) else data.name.encode()  # the Hub hashes the pointer
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def tree(files: Files, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """List a folder as git does: files, and the folders that their paths imply."""
    entries: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        entries[path] = {"type": "file", "path": path, "size": size(data), "oid": git_oid(data)}
        if isinstance(data, Path):
            entries[path]["lfs"] = {"oid": data.name, "size": size(data), "pointerSize": 130}
        for parent in map(str, PurePosixPath(path).parents[:-1]):
            entries[parent] = {"type": "directory", "path": parent, "size": 0, "oid": git_oid(parent.encode())}
    below = [path for path in sorted(entries) if path.startswith(folder and f"{folder}/")]
    return [entries[path] for path in below if recursive or str(PurePosixPath(path).parent) == (folder or ".")]
