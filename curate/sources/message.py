"""
One message of any form in which public datasets write it → our fields: role, content and the optional ones.

Calls of tools are written in OpenAI's form (`tool_calls`, before it `function_call`), or as a turn of their own whose
text is the call in JSON (ShareGPT's roles `function_call` and `observation`). Whatever would be lost is a problem.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from curate.schema.message import ROLES

# Role names of other tools (ShareGPT and similar formats).
CALL_ROLES = ("function_call", "tool_call", "tool_calls")  # the text is a call of a tool
ROLE_NAMES = {role: role for role in ROLES} | {
    "human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "chatgpt": "assistant", "function": "tool", "observation": "tool", "tool_response": "tool", "tool_result": "tool",
    "function_response": "tool", "ipython": "tool", **dict.fromkeys(CALL_ROLES, "assistant"),
}  # fmt: skip
REASONING = ("reasoning", "reasoning_content", "thinking")  # keys of what a model thought before its answer
# Keys of a message whose values say something that its other keys do not, and that no message of ours can hold.
CARRIERS = ("images", "image", "audio", "audios", "video", "videos")
KIND_WORDS = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}

Message = dict[str, str | None]


class Problem(Exception):
    """A value that cannot be used: the rule for the ledger, and a description of what was found."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule
        self.detail = detail


def message(item: object, place: int) -> Message:
    """
    Return one message with our names of keys and roles; `place` is for its problem. Raises Problem.

    An optional field is only in it where the message has it.
    """
    if not isinstance(item, dict):
        raise Problem("not_messages", f"message {place + 1} is {KIND_WORDS.get(type(item), 'null')}, not an object")
    name = item.get("role", item.get("from", item.get("speaker")))
    role = ROLE_NAMES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        shown = repr(name[:40]) if isinstance(name, str) else KIND_WORDS.get(type(name), "null")
        raise Problem("unknown_role", f"message {place + 1} has the role {shown}; known: {', '.join(ROLES)}")
    if lost := [key for key in CARRIERS if item.get(key)]:
        what = f"message {place + 1} has {lost[0]}, which would be lost"
        raise Problem("not_supported", f"{what}; only text is supported")
    content = next((item[key] for key in ("content", "value", "text") if key in item), None)
    if str(name).lower() in CALL_ROLES and not item.get("tool_calls"):
        return {"role": role, "content": "", "tool_calls": calls(content, place)}
    optional = _optional(item, place)
    if content is None and "tool_calls" in optional:
        content = ""
    return {"role": role, "content": _content(content, place), **optional}


def _optional(item: Mapping[str, Any], place: int) -> Message:
    """Return the optional fields that a message has."""
    found: Message = {}
    if thought := next((item[key] for key in REASONING if item.get(key)), None):
        found["reasoning"] = _text(thought, "reasoning", place)
    if called := item.get("tool_calls") or item.get("function_call"):
        found["tool_calls"] = calls(called, place)
        if found["tool_calls"] is None:
            del found["tool_calls"]
    for key in ("name", "tool_call_id"):
        if item.get(key):
            found[key] = _text(item[key], key, place)
    return found


def _text(value: object, key: str, place: int) -> str:
    if isinstance(value, str):
        return value
    found = KIND_WORDS.get(type(value), type(value).__name__)
    raise Problem("not_supported", f"message {place + 1} has {key} that is {found} instead of text: it would be lost")


def calls(value: object, place: int) -> str | None:
    """
    Return calls of tools as `schema.MESSAGE` holds them, null for none. Raises Problem (`not_supported`).

    One call or a list of them, each an object or JSON, with or without an object around name and arguments; arguments
    are an object, JSON, or absent.
    """
    found = _decoded(value)
    listed = [_decoded(one) for one in (found if isinstance(found, list) else [found])]
    known = [_call(one) for one in listed]
    if None in known:
        raise Problem(
            "not_supported", f"message {place + 1} has a call of a tool that cannot be read: it would be lost"
        )
    return msgspec.json.encode(known).decode() if known else None


def _call(call: object) -> dict[str, Any] | None:
    """Return a call in OpenAI's form, without an id if it has none; None if it is no call."""
    if not isinstance(call, dict) or call.get("type") not in (None, "function"):
        return None
    function = call.get("function")
    function = function if isinstance(function, dict) else call
    name, given = function.get("name"), function.get("arguments", function.get("parameters"))
    arguments = {} if given is None or given == "" else _decoded(given)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        return None
    number = call.get("id")
    known = {"id": number} if isinstance(number, str) and number else {}
    return {**known, "type": "function", "function": {"name": name, "arguments": arguments}}


def tools(value: object) -> str | None:
    """
    Return the tools that a conversation offers as `schema.PAIR` holds them; null if there are none. Raises Problem.

    A list of objects, or any of it as JSON: OpenAI's tools, or bare functions ({"name": …, "parameters": …}).
    """
    found = _decoded(value)
    if found is None or found in ("", [], {}):
        return None
    listed = [_decoded(one) for one in (found if isinstance(found, list) else [found])]
    known = [_tool(one) for one in listed]
    if None in known:
        raise Problem("not_supported", "it is no list of tools with names: it would be lost")
    return msgspec.json.encode(known).decode()


def _tool(tool: object) -> dict[str, Any] | None:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function", tool)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    return tool if "function" in tool else {"type": "function", "function": tool}


def _decoded(value: object) -> object:
    """Return what a JSON text holds; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value


def unpadded(value: Any) -> Any:
    """Return a value without the keys that are null: Arrow gives all objects of a column the keys of each."""
    if isinstance(value, list):
        return [unpadded(item) for item in value]
    if isinstance(value, dict):
        return {key: unpadded(item) for key, item in value.items() if item is not None}
    return value


def not_text(value: object) -> Problem:
    """Return the problem of a value that is no text."""
    return Problem("not_text", f"{KIND_WORDS.get(type(value), type(value).__name__)} where text should be")


def _content(content: object, place: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise Problem("no_content", f"message {place + 1} has no content")
    if not isinstance(content, list):
        raise not_text(content)
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    parts = [{"text": p["value"], **p} if isinstance(p, dict) and "value" in p else p for p in parts]  # LLaMA-Factory
    other = [str(part.get("type")) if isinstance(part, dict) else str(part) for part in parts if not _is_text(part)]
    if other:
        raise Problem("not_supported", f"message {place + 1} has a part of type {other[0]!r}; only text is supported")
    return "\n".join(part["text"] for part in parts)


def _is_text(part: object) -> bool:
    # Arrow pads parts of other types with nulls: {"type": "text", "text": "…", "image": null}
    return isinstance(part, dict) and part.get("type") in ("text", None) and isinstance(part.get("text"), str)
