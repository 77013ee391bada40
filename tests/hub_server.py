"""A small read-only Hugging Face Hub on loopback, so that tests run the real clients and not a mock of them."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Self
from urllib.parse import unquote

Files = Mapping[str, bytes]

# Repo, call, revision, path. Matched before unquoting: the %2F in refs%2Fconvert%2Fparquet does not end a revision.
ROUTE = re.compile(r"(?:/api)?/datasets/([^/]+(?:/[^/]+)??)(?:/(revision|tree|resolve)/([^/]+)(?:/(.*))?)?")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class HubServer(ThreadingHTTPServer):
    """Serve `{"owner/name": {path: bytes}}`; a mapping in place of the bytes holds the files of a further revision."""

    request_queue_size = 128  # clients list and download in parallel; a full queue costs them a second each

    def __init__(self, repos: Mapping[str, Mapping[str, bytes | Files]]) -> None:
        """Listen at once, on a free port, so that `url` is known before the first request."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[tuple[str, str]] = []  # (method, path and query as sent)
        self.repos: dict[str, dict[str, tuple[str, Files]]] = {}  # id -> branch or sha -> (sha, files)
        for repo_id, content in repos.items():
            self.commit(repo_id, {path: data for path, data in content.items() if isinstance(data, bytes)})
            for revision, files in content.items():
                if not isinstance(files, bytes):
                    self.commit(repo_id, files, revision)

    def commit(self, repo_id: str, files: Files, revision: str = "main") -> str:
        """Make these the files of a branch and return the sha; earlier shas stay readable, as clients pin them."""
        repo = self.repos.setdefault(repo_id, {})
        parent, _ = repo.get(revision, ("", {}))
        sha = git_oid(json.dumps([parent, sorted((path, git_oid(data)) for path, data in files.items())]).encode())
        repo[revision] = repo[sha] = sha, dict(files)
        return sha

    def __enter__(self) -> Self:
        """Answer from a thread; a short poll keeps the stop short, too."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Free the port, after which a client's connection is refused."""
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0, the default: no connection outlives its answer, so a stopped server is out of reach."""

    server: HubServer

    def do_GET(self) -> None:
        """Log the request, find the commit that it is about, then pick the answer."""
        self.server.requests.append((self.command, self.path))
        address, _, query = self.path.partition("?")
        found = ROUTE.fullmatch(address)
        repo_id, call, revision, path = (unquote(part or "") for part in found.groups()) if found else [""] * 4
        repo = self.server.repos.get(repo_id, {})
        sha, files = repo.get(revision or "main", ("", {}))
        if not repo:
            self.reply_missing("RepoNotFound" if repo_id else "NotServed")
        elif not sha:
            self.reply_missing("RevisionNotFound")
        elif call == "resolve" and path in files:
            self.reply_file(sha, files[path])
        elif call == "tree" and ((entries := tree(files, path, recursive="recursive=true" in query)) or not path):
            self.reply(entries)
        elif call in {"resolve", "tree"}:
            self.reply_missing("EntryNotFound")
        else:
            self.reply({"id": repo_id, "sha": sha, "private": False, "siblings": [{"rfilename": p} for p in files]})

    def do_HEAD(self) -> None:
        """Answer as GET does; `reply` leaves the body out."""
        self.do_GET()

    def reply_missing(self, code: str) -> None:
        """Send a 404; the clients pick their exception type by the code."""
        self.reply({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": f"{code}: {self.path}"})

    def reply_file(self, sha: str, data: bytes) -> None:
        """Send a file, or the part of it that was asked for: parquet readers fetch ranges."""
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_oid(data)}"', "Accept-Ranges": "bytes"}
        span, size = RANGE.fullmatch(self.headers.get("Range", "")), len(data)
        if span is None:
            self.reply(data, 200, headers)
        elif part := data[int(span[1]) : int(span[2] or size) + 1]:
            last = int(span[1]) + len(part) - 1
            self.reply(part, 206, {**headers, "Content-Range": f"bytes {span[1]}-{last}/{size}"})
        else:
            self.reply(b"", 416, {**headers, "Content-Range": f"bytes */{size}"})

    def reply(self, content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send bytes as they are and all else as JSON; HEAD gets the headers of GET, its length included."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a streaming client may hang up before the end
            self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *_: object) -> None:
        """Keep stderr for the test; `requests` is the log."""


def git_oid(data: bytes) -> str:
    """Name content by its hash, as git does; clients store a file under this name."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def tree(files: Files, folder: str, *, recursive: bool) -> list[dict[str, str | int]]:
    """List a folder, as git knows it: files, and the folders that their paths imply."""
    entries: dict[str, dict[str, str | int]] = {}
    for path, data in files.items():
        entries[path] = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
        for parent in map(str, PurePosixPath(path).parents[:-1]):
            entries[parent] = {"type": "directory", "path": parent, "size": 0, "oid": git_oid(parent.encode())}
    below = [path for path in sorted(entries) if path.startswith(folder and f"{folder}/")]
    return [entries[path] for path in below if recursive or str(PurePosixPath(path).parent) == (folder or ".")]
