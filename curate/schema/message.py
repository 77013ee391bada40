"""One message as a dict, out of a frame: for chat templates and trainers, and for people."""

from collections.abc import Mapping
from typing import Any

import msgspec

ROLES = ("system", "developer", "user", "assistant", "tool")
KEYS = {"reasoning": "reasoning_content"}  # our fields whose key is another one in chat templates


def chat_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a message as chat templates and trainers take it: only with the fields that it has (templates ask whether
    there are any `tool_calls`, not whether they are null), calls as objects, and reasoning as `reasoning_content`.

        chat_message({"role": "assistant", "content": "", "reasoning": "Hm.", "tool_calls": None})
        # {"role": "assistant", "content": "", "reasoning_content": "Hm."}
    """
    found = {KEYS.get(name, name): value for name, value in message.items() if value is not None}
    if isinstance(found.get("tool_calls"), str):
        found["tool_calls"] = msgspec.json.decode(found["tool_calls"])
    return found


def shown_text(message: Mapping[str, Any]) -> str:
    """
    Return what a message holds, for people: its reasoning, its text, and its calls as name and arguments.

        shown_text({"content": "", "tool_calls": '[{"function": {"name": "f", "arguments": {"x": 1}}}]'})
        # → f({"x":1})
    """
    calls = msgspec.json.decode(message.get("tool_calls") or "[]")
    called = [f"→ {call['function']['name']}({_json(call['function']['arguments'])})" for call in calls]
    thought = [f"(reasoning) {message['reasoning']}"] if message.get("reasoning") else []
    return "\n\n".join(part for part in (*thought, message["content"], *called) if part)


def tool_names(tools: str | None) -> str:
    """Return the names of the tools offered, for people: `get_weather, get_time`; empty for none."""
    return ", ".join(tool["function"]["name"] for tool in msgspec.json.decode(tools or "[]"))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def shown_turns(row: Mapping[str, Any], side: str) -> list[dict[str, str]]:
    """Return the turns of a side as role and text for people; before the prompt, the tools that are offered."""
    names = tool_names(row.get("tools")) if side == "prompt" else ""
    offered = [{"role": "tools", "content": names}] if names else []
    return offered + [{"role": turn["role"], "content": shown_text(turn)} for turn in row[side] or []]
