"""An instant OpenAI-compatible server on loopback; each test supplies the function that answers."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Messages = Sequence[Mapping[str, str]]
# A text; a text with its finish_reason; the status of a refusal, with or without its message; a message as it is;
# or a whole body.
Answer = str | tuple[str, str] | int | tuple[int, str] | dict[str, Any]
Reply = Callable[[Messages, Mapping[str, Any]], Answer]


@dataclass
class ChatServer:
    """`asked` holds the body of every request in order of arrival, `authorized` its Authorization header."""

    reply: Reply
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    authorized: list[str | None] = field(default_factory=list)

    def line(self, name: str) -> str:
        """Return the recipe's line for a model on this server, which accepts any name."""
        return f"openai:{name}@{self.url}"

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the requests to one model."""
        return [body for body in self.asked if body["model"] == name]

    def forget(self) -> None:
        """Clear the record of requests."""
        self.asked.clear()
        self.authorized.clear()

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.authorized.append(request.headers.get("Authorization"))
        params = {key: value for key, value in body.items() if key != "messages"}
        answer = self.reply(body["messages"], params)
        if isinstance(answer, int):
            answer = (answer, f"refused with {answer}")
        if isinstance(answer, dict) and "choices" in answer:
            return web.json_response(answer)
        if isinstance(answer, dict):
            finish = answer.get("finish_reason", "stop")
            return web.json_response({"choices": [{"message": answer, "finish_reason": finish}]})
        text, reason = answer if isinstance(answer, tuple) else (answer, "stop")
        if isinstance(text, int):
            return web.json_response({"error": {"message": reason}}, status=text)
        sent = sum(len(message["content"].split()) for message in body["messages"])
        return web.json_response(
            {
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}],
                "usage": {"prompt_tokens": sent, "completion_tokens": len(text.split())},
            }
        )


@contextmanager
def chat_server(reply: Reply) -> Iterator[ChatServer]:
    """Serve in a separate thread while the block runs."""
    server = ChatServer(reply)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server._chat)
    loop, ready = asyncio.new_event_loop(), threading.Event()
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()

    def serve() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def last(messages: Messages) -> str:
    """Return the content of the last turn."""
    return messages[-1]["content"]


def rating(grade: int, *aspects: str, reason: str = "because") -> str:
    """Return a judge's reply with a rating."""
    return json.dumps({"reason": reason, "ratings": dict.fromkeys(aspects or ("overall",), grade)})


def better(side: str, reason: str = "because") -> str:
    """Return a judge's reply to a comparison: A, B or tie."""
    return json.dumps({"reason": reason, "better": side})
