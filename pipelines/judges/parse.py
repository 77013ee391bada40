"""
Parse a judge's reply into a verdict. Strict: anything but the requested form is a BadReply, never a guess.

The JSON object may be inside a code fence and between other text. Every `{"` starts an object that must be valid: an
object inside a broken one may be quoted from the answer, including a fake verdict.

The texts of BadReply are sent to the judge in the request to repair, so a change invalidates stored replies.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

MAX_CHARS = 1_000_000  # of a reply; thinking takes some 100,000
SHOWN_CHARS = 60  # of the judge's text that is quoted in the next request
START = re.compile(r'\{\s*"')
GRADE = re.compile(r"[1-9][0-9]?")
NAMES = {dict: "an object", list: "a list", type(None): "null"}


class BadReply(Exception):
    """A reply that is not a verdict. `problem` tells the judge what to correct."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Rating:
    """A grade per aspect, in the requested order."""

    ratings: dict[str, int]
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of the two answers is better."""

    better: Literal["A", "B", "tie"]
    reason: str


def parse_rating(reply: str, aspects: Sequence[str], scale: int) -> Rating:
    """Parse exactly one grade 1..scale per aspect. Raises BadReply."""
    found = parse_object(reply, ("reason", "ratings"))
    ratings = found["ratings"]
    if not isinstance(ratings, dict):
        raise BadReply(f"ratings is {shown(ratings)}, expected an object")
    _expect_keys(ratings, aspects, "ratings")
    return Rating({aspect: _grade(aspect, ratings[aspect], scale) for aspect in aspects}, _reason(found))


def parse_comparison(reply: str) -> Comparison:
    """Parse A, B or tie. Raises BadReply."""
    found = parse_object(reply, ("reason", "better"))
    better = found["better"]
    if better not in ("A", "B", "tie"):
        raise BadReply(f'better is {shown(better)}, expected "A", "B" or "tie"')
    return Comparison(better, _reason(found))


def parse_object(reply: str, keys: Sequence[str]) -> dict[str, Any]:
    """
    Parse the only object in a reply, which has exactly these keys; one that is repeated verbatim counts as one. Raises
    BadReply.
    """
    if len(reply) > MAX_CHARS:
        raise BadReply(f"the reply has {len(reply):,} characters, at most {MAX_CHARS:,} are read")
    text = _final_text(reply)
    found: dict[str, Any] | None = None
    place = 0
    try:
        while start := START.search(text, place):
            value, place = DECODER.raw_decode(text, start.start())
            if found is not None and value != found:
                raise BadReply("the reply holds more than one JSON object, and they differ")
            found = value
    except json.JSONDecodeError as error:
        near = shown(text[max(error.pos - 20, 0) : error.pos + 20])
        raise BadReply(f"malformed JSON, {error.msg} near {near}") from error
    except ValueError as error:  # a number with thousands of digits
        raise BadReply(f"malformed JSON, {_clean(str(error))[:SHOWN_CHARS]}") from error
    except RecursionError as error:
        raise BadReply("the JSON is nested too deeply") from error
    if found is None:
        raise BadReply(f"there is no JSON object in {shown(text.strip())}")
    _expect_keys(found, keys, "the object")
    return found


def _final_text(reply: str) -> str:
    """Return the text after the thinking, which may quote and consider objects that are not the verdict."""
    text = reply.strip()
    if text.startswith(("{", "```")):
        return text
    if text.startswith("<think>") and "</think>" not in text:
        raise BadReply("the reply ends before the thinking does")
    return text.rpartition("</think>")[2]


def _expect_keys(found: dict[str, Any], keys: Sequence[str], what: str) -> None:
    if found.keys() != set(keys):
        raise BadReply(f"{what} has {len(found)} keys ({_listed(found)}), expected {len(keys)}: {', '.join(keys)}")


def _grade(aspect: str, value: Any, scale: int) -> int:
    grade = value
    if isinstance(value, str) and GRADE.fullmatch(value.strip()):
        grade = int(value)
    if isinstance(value, float) and value.is_integer():
        grade = int(value)
    if isinstance(grade, bool) or not isinstance(grade, int) or not 1 <= grade <= scale:
        raise BadReply(f"the rating {aspect} is {shown(value)}, expected a whole number from 1 to {scale}")
    return grade


def _reason(found: dict[str, Any]) -> str:
    if not isinstance(found["reason"], str):
        raise BadReply(f"reason is {shown(found['reason'])}, expected a text")
    return _clean(found["reason"]).strip()


def _clean(text: str) -> str:
    """Replace unpaired surrogates, which JSON escapes can produce and UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(value: Any) -> str:
    """Format a value on one line, shortened."""
    if type(value) in NAMES:
        return NAMES[type(value)]
    if isinstance(value, str):
        value = _clean(value if len(value) <= SHOWN_CHARS else f"{value[:SHOWN_CHARS]}…")
    return json.dumps(value, ensure_ascii=False)[: 2 * SHOWN_CHARS]


def _listed(names: Iterable[str]) -> str:
    shown = ", ".join(_clean(name[:SHOWN_CHARS]) for name in list(names)[:10])
    return shown.replace("\n", " ")[: 2 * SHOWN_CHARS]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject repeated keys, of which json would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadReply(f"the object has a key twice ({_listed(name for name, _ in pairs)})")
    return found


def _no_number(name: str) -> NoReturn:
    raise BadReply(f"{name} is not JSON")


# Line breaks inside strings are common in replies, and harmless.
DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_distinct, parse_constant=_no_number)
