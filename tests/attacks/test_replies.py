"""Hostile replies of an endpoint: each is an answer, a failed answer or a one-line error; no other address is asked."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from tests.attacks.harness import Done, Victim, any_of
from tests.data import write_jsonl
from tests.forked import ASKING

PRELOAD = ASKING
CHUNKED = "Transfer-Encoding: chunked\r\n"


def completion(content: object = "Yes.", **more: object) -> str:
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}], **more}
    )


def used(tokens: str) -> str:
    return completion()[:-1] + f', "usage": {{"prompt_tokens": {tokens}, "completion_tokens": {tokens}}}}}'


def reply(body: bytes | str, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Return the bytes on the wire."""
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    size = "" if CHUNKED in headers else f"Content-Length: {len(data) if length is None else length}\r\n"
    return f"HTTP/1.1 {status}\r\nConnection: close\r\n{headers}{size}\r\n".encode("latin-1") + data


def to(where: str) -> bytes:
    return reply("", status="307 Temporary Redirect", headers=f"Location: {where}\r\n")


LONG = "x" * 100_000
REPLIES: dict[str, bytes] = {
    **{f"usage {n}": reply(used(n)) for n in ("-1", "1e30", "[]", "{}", "null", '"\x1b"', "9" * 400, "0.1", "true")},
    **{f"content {type(x).__name__} {i}": reply(completion(x)) for i, x in enumerate(
        any_of(None, 3, True, [], {}, [[]], [{"type": "text", "text": 3}], [{"type": "image"}], {"text": "x"}, 1e300))},
    "content huge": reply(completion("x" * (8 << 20))),
    "content of controls": reply(completion("\x1b]0;x\x07\x9b31m\u202e\x00\r")),
    "content of surrogates": reply(completion("a \ud800 b")),
    "content empty": reply(completion("")),
    "content blank": reply(completion(" \n")),
    "content of HTML": reply(completion("<script>alert(1)</script>")),
    "content of a template": reply(completion("{{ 7*7 }}{% for x in y %}")),
    "reasons": reply(json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": ["\x1b", {"a": LONG}]}]})),
    "a model's name": reply(completion(model="\x1b]0;x\x07" + LONG, id=[[]], created="x")),
    "no message": reply('{"choices": [{}]}'),
    "a message of another type": reply('{"choices": [{"message": [1]}]}'),
    "choices of numbers": reply('{"choices": [1, 2]}'),
    "choices of none": reply('{"choices": null}'),
    "choices as an object": reply('{"choices": {"0": {}}}'),
    "endless choices": reply('{"choices": [' + '{"message": {"content": "a"}},' * 50_000 + "{}]}"),
    "a key twice": reply('{"choices": [], "choices": [{"message": {"content": "a", "content": "b"}}]}'),
    "nested": reply('{"choices": [{"message": {"content": ' + "[" * 90_000 + "]" * 90_000 + "}}]}"),
    "an error in 200": reply('{"error": {"message": "\x1b[2J' + LONG + '", "code": [1]}}'.replace("\x1b", "\\u001b")),
    "an error that is text": reply('{"error": "no"}'),
    "an error of another type": reply('{"error": [3]}', status="400 Bad Request"),
    "an endless error": reply(LONG * 30, status="500 Internal Server Error"),
    "an error of controls": reply("\x1b]0;x\x07\x9b2J", status="403 Forbidden"),
    "nothing": reply(""),
    "null": reply("null"),
    "a number": reply("9" * 6_000),
    "NaN": reply('{"choices": NaN}'),
    "HTML": reply("<html><h1>Sign in</h1></html>", headers="Content-Type: text/html\r\n"),
    "SSE": reply(
        'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n',
        headers="Content-Type: text/event-stream\r\n"),
    "invalid UTF-8": reply(b'{"choices": [{"message": {"content": "\xff\xfe\x80"}}]}'),
    "UTF-16": reply(completion().encode("utf-16")),
    "a BOM": reply(b"\xef\xbb\xbf" + completion().encode()),
    "a strange charset": reply(completion(), headers="Content-Type: application/json; charset=x-none\r\n"),
    "a charset that is a codec": reply(completion(), headers="Content-Type: application/json; charset=rot13\r\n"),
    "too short": reply(completion(), length=10_000),
    "too long": reply(completion(), length=5),
    "a negative length": reply(completion(), length=-1),
    "a huge length": reply(completion(), length=10**18),
    "no gzip": reply(completion(), headers="Content-Encoding: gzip\r\n"),
    "an unknown encoding": reply(completion(), headers="Content-Encoding: x-none\r\n"),
    "broken chunks": reply("zz\r\nabc", headers=CHUNKED),
    "a chunk of a huge size": reply("FFFFFFFFFFFF\r\nabc", headers=CHUNKED),
    "no HTTP": b"\x00\xff\x1b[2J\r\n\r\n",
    "nothing at all": b"",
    "a status of words": b"HTTP/1.1 abc def\r\n\r\n",
    "a status of 999": reply(completion(), status="999 What"),
    "a status of 100": reply(completion(), status="100 Continue") + reply(completion()),
    "204": reply("", status="204 No Content"),
    "304": reply("", status="304 Not Modified"),
    "an endless header": reply(completion(), headers=f"X: {LONG}\r\n"),
    "many headers": reply(completion(), headers="".join(f"X{n}: {n}\r\n" for n in range(5_000))),
    "a cookie": reply(completion(), headers="Set-Cookie: a=b; Domain=localhost\r\n"),
    "retry in a year": reply("", status="429 Too Many Requests", headers="Retry-After: 31536000\r\n"),
    "retry never": reply("", status="429 Too Many Requests", headers="Retry-After: nan\r\n"),
    "retry in the past": reply("", status="503 Busy", headers="Retry-After: -1e400\r\n"),
    "retry on a date": reply("", status="429 X", headers="Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"),
    "retry on no date": reply("", status="429 X", headers="Retry-After: Fri, 99 Foo 99999999 99:99:99 GMT\r\n"),
    "to another port": to("http://127.0.0.1:9/v1"),
    "to another name": to("http://localhost:9/v1"),
    "to a file": to("file:///etc/passwd"),
    "to nowhere": to(""),
    "to no address": to("http://[::1"),
    "to a login": to("http://a:b@127.0.0.2/v1"),
    "to controls": to("http://\x1b[2J/"),
}  # fmt: skip


NAMES, STEP = list(REPLIES), 12


@dataclass
class Wire:
    """A server that sends raw bytes: the reply whose number is in the path."""

    url: str = ""
    asked: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    found = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            number = int(self.path.split("/")[1])
            found.asked.append(number)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.close_connection = True
            self.wfile.write(REPLIES[NAMES[number]])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(NAMES), STEP))
def test_hostile_replies(victim: Victim, wire: Wire, start: int) -> None:
    """A run asks one model per reply; the next run asks for those that it did not reach because another ended it."""
    remaining = list(range(start, min(start + STEP, len(NAMES))))
    while remaining:
        wire.asked.clear()
        done = attack(victim, wire, remaining)
        names = [NAMES[number] for number in remaining]
        assert done.code in (0, 1, 3), f"{names}: {done.err}"
        assert not any(sign in done.out + done.err for sign in ("\x1b", "\x9b", "\u202e", "k-secret")), names
        assert len(done.err) < 8_000, names
        assert wire.asked, names
        remaining = [number for number in remaining if number not in wire.asked]


def attack(victim: Victim, wire: Wire, numbers: list[int]) -> Done:
    """Run, and if that worked, run again from the stored answers."""
    shutil.rmtree(victim.folder / "RUN", ignore_errors=True)
    write_jsonl(victim.folder / "p.jsonl", [{"prompt": "Is 7 odd?"}])
    bounds = "retries: 0, timeout: 3, patience: 4"
    model = f"  - {{{{model: 'openai:m{{0}}', base_url: '{{1}}/{{0}}/v1', api_key_env: A_KEY, {bounds}}}}}\n"
    models = "".join(model.format(number, wire.url) for number in numbers)
    (victim.folder / "r.yaml").write_text(
        f"source: {{paths: p.jsonl}}\ngenerate:\n  n: 1\n  max_failed: 1\n  models:\n{models}"
    )
    connects, line = [f"'127.0.0.1', {wire.url.rpartition(':')[2]}"], ("generate", "r.yaml", "-o", "RUN")
    env = {"A_KEY": "k-secret"}
    done = victim(*line, env=env).check(connects=connects)
    if done.code == 0:
        assert pl.read_parquet(victim.folder / "RUN/candidates.parquet").height == len(numbers)
        assert victim(*line, env=env).check(connects=connects).code == 0
    return done
