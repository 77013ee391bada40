"""How a model wants its requests: which fields under which names, and what follows from a refusal of one of them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipelines.clients.faults import Fault
from pipelines.clients.requests import OF_PROMPT, Messages

REFUSING = (400, 404, 422, 500, 501)  # statuses of a refused field; 500: a chat template that raises, in llama.cpp
MAX_CHANGES = 8  # to one request
OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
REFUSAL = re.compile(
    r"support|unrecogni[sz]ed|unknown|unexpected|unavailable|not (available|permitted|allowed|enabled|implemented)"
    r"|invalid|not valid|forbidden|deprecated|must be|should be|extra |instead|can(no|')t|disabled|no longer",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"context|too (long|large|many)|exceed|at most|maximum|length", re.IGNORECASE)
FORMAT = re.compile(r"response.?format|json.?(schema|mode|object)|structured|guided|grammar|schema", re.IGNORECASE)
SYSTEM = re.compile(
    r"system.{0,3}(role|message|prompt|instruction|turn)|\brole.{0,60}\bsystem\b|support.{0,20}\bsystem\b"
    r"|['\"`]system['\"`]|developer.{0,3}(role|message|instruction)|roles? must alternate",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Form:
    """
    The form of the requests to one model at one address.

        Form({"max_tokens": "max_completion_tokens", "seed": None}).body("m", [], {"max_tokens": 9, "seed": 1})
        # {"model": "m", "messages": [], "stream": False, "max_completion_tokens": 9}
    """

    fields: Mapping[str, str | None]  # other names; None = left out
    system: bool = True  # false: the system prompt stands in front of the first user turn

    def body(self, model: str, messages: Messages, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of a request. A parameter that is null is left out, also `stream`."""
        given = {"stream": False, **params}
        places = ((self.fields.get(name, name), value) for name, value in given.items())
        named = {place: value for place, value in places if place is not None and value is not None}
        turns = [_sent(turn) for turn in (messages if self.system else merged(messages))]
        return {"model": model, "messages": turns, **named}

    def after(self, fault: Fault, body: Mapping[str, Any]) -> "Form | None":
        """Return the form of the next attempt after a body was refused; None if the refusal is about none of this."""
        if fault.status not in REFUSING:
            return None
        code = "" if fault.code.endswith("_error") else fault.code  # invalid_request_error says nothing
        said = f"{fault.message} {code} {fault.param}"
        refused = REFUSAL.search(said)
        is_clear = refused or fault.status in (400, 422)  # which of the others a busy server may give, too
        if "response_format" in body and is_clear and FORMAT.search(said):
            return self._with("response_format", None)
        has_system = any(turn["role"] in ("system", "developer") for turn in body["messages"])
        if has_system and SYSTEM.search(said) and (refused or "alternate" in said.lower()):
            return replace(self, system=False)
        name = _named(fault, said, body) if refused and fault.status < 500 else None
        if name is None or name in OF_PROMPT:  # without these fields it would be another request
            return None
        if name in OTHER_NAMES:
            return None if TOO_LONG.search(_without(said, name)) else self._other_name(name)
        return self._with(name, None)

    def _other_name(self, name: str) -> "Form | None":
        """Return the form with the other name of the limit, unless that one was refused before."""
        other = OTHER_NAMES[name]
        return None if self.fields.get(other) == name else self._with(name, other)

    def _with(self, name: str, other: str | None) -> "Form":
        first = next((mine for mine, theirs in self.fields.items() if theirs == name), name)  # renamed before
        return replace(self, fields={**self.fields, first: other})

    def joined(self, other: "Form") -> "Form":
        """Return this form with the changes of another one, which another request has led to."""
        return Form({**self.fields, **other.fields}, self.system and other.system)

    def changes(self, before: "Form") -> str:
        """Say how this form differs from an earlier one: `without seed, with max_completion_tokens for max_tokens`."""
        new = {name: other for name, other in self.fields.items() if before.fields.get(name, name) != other}
        said = [f"with {other} for {name}" if other else f"without {name}" for name, other in new.items()]
        if self.system != before.system:
            said.append("with the system prompt in the user turn")
        return ", ".join(said)


def form_of(model: str, base_url: str) -> Form:
    """Return the form for a model, by its family; that of most models has no changes."""
    name, host = model.rpartition("/")[2].lower(), urlsplit(base_url).hostname
    fields: dict[str, str | None] = {}
    system = True
    for names, at, family in _families():
        if names.fullmatch(name) and at in (None, host):
            fields |= family.get("fields", {})
            system &= family.get("system", True)
    return Form(fields, system)


def _sent(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as an endpoint takes it: arguments of calls as JSON, and not what was thought before."""
    found = {name: value for name, value in turn.items() if name != "reasoning"}
    if "tool_calls" in found:
        calls = json.loads(found["tool_calls"])
        for call in calls:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        found["tool_calls"] = calls
    return found


def merged(messages: Messages) -> Messages:
    """Return messages without system turns; their texts stand in front of the first user turn."""
    system = [turn["content"] for turn in messages if turn["role"] in ("system", "developer")]
    others = [turn for turn in messages if turn["role"] not in ("system", "developer")]
    place = next((place for place, turn in enumerate(others) if turn["role"] == "user"), None)
    if not system:
        return messages
    if place is None:
        return [{"role": "user", "content": "\n\n".join(system)}, *others]
    first = {**others[place], "content": "\n\n".join([*system, others[place]["content"]])}
    return [*others[:place], first, *others[place + 1 :]]


def _named(fault: Fault, said: str, body: Mapping[str, Any]) -> str | None:
    """Return the field of the body that a refusal is about: the one it points to, else the first one it mentions."""
    pointed = re.split(r"[.\[]", fault.param)[0]
    if pointed in body and pointed not in ("model", "messages"):
        return pointed
    mentions = {name: match.start() for name in body if (match := _mention(name).search(said))}
    return min(mentions.keys() - {"model", "messages"}, key=mentions.__getitem__, default=None)


def _without(said: str, name: str) -> str:
    """The words of a refusal without the names of the limit, which hold the word `max`."""
    return re.sub("|".join(OTHER_NAMES), "", said.replace(name, ""))


def _mention(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")


@cache
def _families() -> list[tuple[re.Pattern[str], str | None, dict[str, Any]]]:
    listed = yaml.safe_load((files("pipelines.clients") / "families.yaml").read_text("utf-8"))
    return [(re.compile(family["names"]), family.get("at"), family) for family in listed]
