"""
An OpenAI-compatible chat server that fails on purpose, in a separate process, and logs what it did with each request.

    python -m tests.fault_server --log LOG --seed 7 --share 429=0.05 --share empty=0.02

Its answer is a function of model, messages and parameters. A fault is drawn from the request and the number of its
tries, so that a later try succeeds; bad answers (CONTENT) are drawn from the request alone. A message can also contain
a script: `[[500 429]]` fails with these two and is then answered; `[[500*]]` is never answered. The server ends with
its parent (when standard input ends). `FaultServer` starts one.
"""

import argparse
import asyncio
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import Any, TextIO

from aiohttp import web

TRANSIENT = (
    "429", "429_seconds", "429_date", "500", "503", "slow", "drop", "cut", "garbled", "no_choice", "null", "empty",
    "html", "error_200",
)  # fmt: skip
CONTENT = ("chatter", "foreign", "length")
PAID = ("slow", "cut", "garbled", "no_choice", "null", "empty")  # work was done, and is charged for
SCRIPT = re.compile(r"\[\[([^\[\]]*)\]\]")
FORM = re.compile(r"of this form and nothing else:\n(\{.*\})\Z")  # what a judge is asked for without a schema
WORDS = """
    open the file and choose what you want to keep then check each line twice before you save it because a copy of
    the last version stays in the folder until somebody removes that by hand so nothing is lost when it goes wrong
""".split()  # noqa: SIM905 - a sentence
FOREIGN = "Öffnen Sie bitte die Datei, wählen Sie aus, was bleiben soll, und prüfen Sie jede Zeile vor dem Speichern."
REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "400": (400, {"message": "Invalid value for this parameter", "code": "invalid_value"}),
    "400_context": (400, {"message": "maximum context length is 4096 tokens", "code": "context_length_exceeded"}),
    "402": (402, {"message": "Insufficient balance", "code": None}),
    "403": (403, {"message": "Country not supported", "code": "unsupported_country"}),
    "429": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "429_seconds": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "429_date": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "429_long": (429, {"message": "Rate limit reached", "code": "rate_limit_exceeded"}),
    "429_quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    **{str(status): (status, {"message": "No", "code": None}) for status in (408, 409, 410, 424, 425, 426, 499)},
    "500": (500, {"message": "The server had an error", "code": None}),
    "503": (503, {"message": "Overloaded", "code": None}),
}


def main() -> None:
    """Serve until end of standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--share", action="append", default=[], help="FAULT=SHARE; all=SHARE spreads it over TRANSIENT")
    parser.add_argument("--models", default="", help="known ones, comma-separated; empty = any")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds an answer takes")
    parser.add_argument("--slow", type=float, default=30.0, help="seconds a slow answer takes")
    parser.add_argument("--most", type=int, default=0, help="more requests at once than this get 429; 0 = any number")
    parser.add_argument(
        "--most-of", action="append", default=[], help="MODEL=NUMBER; the same for one model's requests"
    )
    parser.add_argument("--no-format", action="store_true", help="response_format is not known")
    asyncio.run(Server(parser.parse_args()).serve())


class Server:
    """The options, and the state so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        shares = dict(one.split("=") for one in options.share)
        each = float(shares.pop("all", 0)) / len(TRANSIENT)
        self.shares = dict.fromkeys(TRANSIENT, each) | {name: float(share) for name, share in shares.items()}
        self.key = os.environ.get("FAULT_SERVER_KEY")  # the only accepted one; not set = any, or none
        self.asked: Counter[str] = Counter()
        self.answered = 0
        self.hold_after: float = float("inf")
        self.active = 0
        self.active_of: Counter[str] = Counter()  # by model
        self.most_of = {model: int(most) for model, _, most in (one.rpartition("=") for one in options.most_of)}
        self.log: TextIO = open(options.log, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 - to the end

    async def serve(self) -> None:
        """Listen, print the address, and end with the parent."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.known)
        app.router.add_post("/control", self.control)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await self.listen(self.options.port)
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
        print(f"http://127.0.0.1:{self.port}/v1", flush=True)  # noqa: T201 - read by the parent
        await asyncio.Event().wait()

    async def listen(self, port: int) -> None:
        """Accept connections."""
        self.site = web.TCPSite(self.runner, "127.0.0.1", port, backlog=1024)
        await self.site.start()
        self.port = self.runner.addresses[0][1]

    async def control(self, request: web.Request) -> web.Response:
        """{"hold_after": N}: answer N more, then keep requests waiting. {"dead_for": S}: close the port for S s."""
        orders = await request.json()
        if "hold_after" in orders:
            self.hold_after = float("inf") if orders["hold_after"] is None else self.answered + orders["hold_after"]
        if "dead_for" in orders:
            self.dying = asyncio.create_task(self.die(orders["dead_for"]))
        return web.json_response({"answered": self.answered, "asked": self.asked.total()})

    async def die(self, seconds: float) -> None:
        """Close the port and every connection, as a crash does."""
        await asyncio.sleep(0.01)  # after the reply to /control
        await self.site.stop()
        for connection in list(self.runner.server.connections if self.runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(seconds)
        await self.listen(self.port)

    async def known(self, _: web.Request) -> web.Response:
        """List the models."""
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.options.models.split(",")]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer with a completion or a fault."""
        body = await request.json()
        self.active += 1
        self.active_of[body["model"]] += 1
        try:
            return await self.treat(request, body)
        finally:
            self.active -= 1
            self.active_of[body["model"]] -= 1

    async def treat(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Decide, log, and respond."""
        plain = json.dumps(body, sort_keys=True)
        key = hashlib.sha256(plain.encode()).hexdigest()[:24]
        self.asked[key] += 1
        did = self.decide(request, body, key, plain)
        note: dict[str, Any] = {"key": key, "try": self.asked[key], "model": body["model"], "did": did}
        note |= {"active": self.active, "at": time.time()}
        if did == "answered" or did in (*CONTENT, *PAID):
            answer = completion(body, key, did)
            note["usage"] = answer["usage"]
            self.answered += did not in PAID
            self.write(note)
            if self.options.delay:
                await asyncio.sleep(self.options.delay)
            return await self.broken(request, did, answer)
        self.write(note)
        if did == "held":
            await asyncio.Event().wait()
        return await self.failed(request, did, body)

    def write(self, note: dict[str, Any]) -> None:
        """Write one line, flushed at once."""
        self.log.write(json.dumps(note) + "\n")

    def decide(self, request: web.Request, body: dict[str, Any], key: str, plain: str) -> str:
        """Return `answered`, or the name of a fault."""
        options, tries = self.options, self.asked[key]
        steps, for_ever = script_of(plain)
        faults = tuple(name for name in self.shares if name not in CONTENT)
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            did = "401"
        elif options.models and body["model"] not in options.models.split(","):
            did = "404"
        elif (options.most and self.active > options.most) or self.active_of[body["model"]] > self.most_of.get(
            body["model"], self.active
        ):
            did = "429"
        elif options.no_format and "response_format" in body:
            did = "400_format"
        elif tries <= len(steps) or for_ever:
            did = steps[min(tries, len(steps)) - 1]
        elif (fault := self.drawn(faults, key, tries)) is not None:
            did = fault
        elif self.answered >= self.hold_after:
            did = "held"
        else:
            did = self.drawn(CONTENT, key, 0) or "answered"
        return did

    def drawn(self, names: tuple[str, ...], key: str, n: int) -> str | None:
        """Return one of the faults or none, by their shares."""
        draw = int(hashlib.sha256(f"{self.options.seed} {key} {n}".encode()).hexdigest()[:13], 16) / 16**13
        for name in names:
            draw -= self.shares.get(name, 0.0)
            if draw < 0:
                return name
        return None

    async def broken(self, request: web.Request, did: str, answer: dict[str, Any]) -> web.StreamResponse:
        """Send the answer, as it is or spoiled."""
        text = json.dumps(answer)
        if did == "slow":
            await asyncio.sleep(self.options.slow)
        elif did == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(text))})
            await response.prepare(request)
            await response.write(text[: len(text) // 2].encode())
            return await self.hang_up(request)
        elif did == "garbled":
            text = text[: len(text) // 2]
        return web.Response(text=text, content_type="application/json")

    async def failed(self, request: web.Request, did: str, body: dict[str, Any]) -> web.StreamResponse:
        """Fail in the given way."""
        if did == "drop":
            return await self.hang_up(request)
        if did == "html":
            return web.Response(text="<html><body>Just a moment…</body></html>", content_type="text/html")
        if did == "error_200":
            return web.json_response({"error": {"message": "Provider returned error", "code": 502}})
        sent = request.headers.get("Authorization", "")
        refused: dict[str, tuple[int, dict[str, Any]]] = {
            "401": (401, {"message": f"Incorrect API key provided: {sent}", "code": "invalid_api_key"}),
            "400_echo": (400, {"message": f"I do not like your header {sent}", "code": None}),
            "404": (404, {"message": f"The model `{body['model']}` does not exist", "code": "model_not_found"}),
            "400_format": (400, {"message": "Unknown field: response_format", "code": "unknown_field"}),
        }
        status, error = (REFUSED | refused)[did]
        wait = {"429_seconds": "1", "429_date": formatdate(time.time() + 2, usegmt=True), "429_long": "86400"}
        headers = {"Retry-After": wait[did]} if did in wait else {}
        return web.json_response({"error": error}, status=status, headers=headers)

    async def hang_up(self, request: web.Request) -> web.StreamResponse:
        """Close the connection without a response."""
        if request.transport is not None:
            request.transport.abort()
        await asyncio.Event().wait()  # until aiohttp notices that the client is gone
        raise AssertionError


def script_of(text: str) -> tuple[list[str], bool]:
    """Return the faults that a message requests, and whether the last of them is permanent."""
    found = SCRIPT.search(text)
    return (found[1].rstrip("*").split(), found[1].endswith("*")) if found else ([], False)


def completion(body: dict[str, Any], key: str, did: str) -> dict[str, Any]:
    """Return a chat completion determined by the request."""
    draw = int(key, 16)
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    form = next(filter(None, (FORM.search(message["content"]) for message in body["messages"])), None)
    if did == "chatter":
        text = "Well, I would say that both of them are rather good."
    elif did == "foreign":
        text = FOREIGN
    elif schema:
        text = json.dumps(instance(schema, draw))
    elif form:
        text = re.sub(r"<[^>]*>", lambda hole: filled(hole[0], draw), form[1])
    else:
        words = [WORDS[draw >> shift & 31] for shift in range(0, 5 + draw % 60)]
        text = f"Answer {key[:8]}: {' '.join(words)}."
    tokens, most = text.split(" "), body.get("max_tokens") or 10_000
    cut_off = len(tokens) > most or did == "length"
    tokens = tokens[: min(most, 4)] if did == "length" else tokens[:most]
    choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(tokens)}}
    choice["finish_reason"] = "length" if cut_off else "stop"
    if did in ("null", "empty"):
        choice["message"] = {"role": "assistant", "content": None if did == "null" else " \n"}
        choice["finish_reason"] = "stop"
    sent = sum(4 + len(message["content"]) // 4 for message in body["messages"])
    usage = {"prompt_tokens": sent, "completion_tokens": len(tokens), "total_tokens": sent + len(tokens)}
    choices = [] if did == "no_choice" else [choice]
    return {"id": f"c-{key}", "object": "chat.completion", "model": body["model"], "choices": choices, "usage": usage}


def filled(hole: str, draw: int) -> str:
    """Return a replacement for `<1 to 5>`, `<"A", "B" or "tie">` or `<why …>` in a reply."""
    if hole[1].isdigit():
        return str(draw % 5 + 1)
    return ('"A"', '"B"', '"tie"')[draw % 3] if "tie" in hole else "It is so."


def instance(schema: dict[str, Any], draw: int) -> Any:
    """Return a value that is valid for a JSON schema."""
    if "enum" in schema:
        return schema["enum"][draw % len(schema["enum"])]
    if schema.get("type") == "object":
        return {
            name: instance(of, draw // (place + 1)) for place, (name, of) in enumerate(schema["properties"].items())
        }
    return {"integer": draw % 5 + 1, "boolean": True}.get(schema.get("type", ""), f"It is so ({draw % 1000}).")


if __name__ == "__main__":
    main()
