"""Replies that are endless or nonsensical, and redirects to other hosts."""

import asyncio
import json
import resource
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from curate.errors import ServiceError
from pipelines.clients.completions import Retry, Usage, read
from pipelines.clients.endpoint import Endpoint
from pipelines.clients.requests import Reply
from tests.faults import free, requests

MORE = 300 << 20  # bytes of memory that one hostile reply may cost, with everything that is loaded for it
GOOD = json.dumps({"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}).encode()
BLOCK = bytes(1 << 20)


class Handler(BaseHTTPRequestHandler):
    """Answers as the model's name says."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        """Send the reply that the model's name asks for."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Handler.seen.append((self.path, self.headers["Authorization"]))
        name = json.loads(body)["model"]
        if name.startswith("to "):
            self.send_response(307)
            self.send_header("Location", name.removeprefix("to "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if name == "good":
            self.send_header("Content-Length", str(len(GOOD)))
            self.end_headers()
            self.wfile.write(GOOD)
            return
        if name == "bomb":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Connection", "close")
        self.end_headers()
        packer = zlib.compressobj(wbits=31)
        try:
            for _ in range(4 << 10):  # 4 GB
                self.wfile.write(packer.compress(BLOCK) if name == "bomb" else BLOCK)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.seen.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def ask(url: str, model: str, **options: Any) -> Reply:
    async def play() -> Reply:
        endpoint = Endpoint(model, url, api_key="key", timeout=30, retries=1, first_delay=0.01, patience=2, **options)
        try:
            return await endpoint.ask(requests("Why?")[0], free)
        finally:
            await endpoint.close()

    return asyncio.run(asyncio.wait_for(play(), 60))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["endless", "bomb"])
def test_an_endless_reply_fails_within_bounds(server: str, kind: str) -> None:
    before = peak()
    with pytest.raises(ServiceError, match="the reply is larger than 16,777,216 bytes"):
        ask(server, kind)
    assert peak() - before < MORE


@pytest.mark.slow
def test_the_limit_is_a_setting(server: str) -> None:
    assert ask(server, "good", max_bytes=len(GOOD)).text == "Yes."
    with pytest.raises(ServiceError, match=f"larger than {len(GOOD) - 1} bytes"):
        ask(server, "good", max_bytes=len(GOOD) - 1)


def test_a_redirect_to_another_host_is_not_followed(server: str) -> None:
    other = server.replace("127.0.0.1", "localhost")
    broken = ("http://[::1", "//[x]/v1", "http://127.0.0.1:port/v1", "http://127.0.0.1:99999/v1")  # no addresses
    for target in (f"{other}/v1/steal", "//example.org/v1", "https://127.0.0.1/v1", *broken):
        with pytest.raises(ServiceError, match="requests and keys are not sent on to another host"):
            ask(server, f"to {target}")
    assert [path for path, _ in Handler.seen] == ["/chat/completions"] * 7


def test_a_redirect_on_the_same_host_is_followed_a_few_times(server: str) -> None:
    with pytest.raises(ServiceError, match=r"more than 5 redirects, the last one to http://127\.0\.0\.1:\d+/loop"):
        ask(server, "to /loop")
    assert Handler.seen == [("/chat/completions", "Bearer key"), *[("/loop", "Bearer key")] * 5]


@pytest.mark.parametrize(
    ("count", "read_as"),
    [("0", 0), ("7", 7), ("-35", None), (str(2**40), 2**40), (str(2**40 + 1), None), (str(2**63 - 1), None),
     ("1" + 30 * "0", None), ("2.25", None), ("7.0", None), ("true", None), ('"7"', None), ("[]", None),
     ("1e400", None)],
)  # fmt: skip
def test_nonsensical_usage_is_null_and_the_text_is_kept(count: str, read_as: int | None) -> None:
    body = GOOD[:-1] + f', "usage": {{"prompt_tokens": {count}, "completion_tokens": 3}}}}'.encode()
    reply = read(body)
    if count == "1e400":  # not a JSON number
        assert isinstance(reply, Retry)
        return
    assert reply == Reply("Yes.", "stop", read_as, 3)


@pytest.mark.parametrize("usage", ["3", '"many"', "[1, 2]", "null"])
def test_usage_of_another_form_is_null(usage: str) -> None:
    assert read(GOOD[:-1] + f', "usage": {usage}}}'.encode()) == Reply("Yes.", "stop", None, None)


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("where", ["{}", '{{"choices": {}}}', '{{"error": {}}}', '{{"choices": [], "more": {}}}'])
def test_deep_nesting_is_not_a_completion(depth: int, where: str) -> None:
    reply = read(where.format("[" * depth + "]" * depth).encode())
    assert isinstance(reply, Retry)
    assert reply.usage == Usage()
