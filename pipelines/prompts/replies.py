"""Parse the prompts in a model's reply; None for a reply in another form, which is counted and not repaired."""

import json
import re
from collections.abc import Callable, Iterator

from pipelines.clients.requests import Reply

Reader = Callable[[Reply], list[str] | None]

MAX_REPLY_CHARS = 200_000  # longer replies are degenerate
MIN_BYTES = 10  # of a prompt in UTF-8: excludes "Help me!", admits four Chinese characters
MAX_CHARS = 20_000
MAX_TOPIC_CHARS = 120

DECODER = json.JSONDecoder(strict=False)  # line breaks inside strings are common and unambiguous
FENCE = re.compile(r"\A```[a-z]*[ \t\r]*\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)
LIST = re.compile(r'\[\s*"')
ITEM = re.compile(r"[ \t]{0,3}(?:(?P<number>\d{1,3}[.)])|[-*•])[ \t]+(?P<text>\S.*)")
STRING = re.compile(r'"(?:[^"\\]|\\.)*+"(?=\s*[,\]])', re.DOTALL)
PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n")
TURN_END = re.compile(r"<\|[a-z_]+\|>|<(?:start|end)_of_turn>|\[/?INST\]|</s>", re.IGNORECASE)
QUOTES = ('""', "''", "“”", "«»", "„“")
# Template text (of prefcurate, or of a model's training data) that appears in replies in place of a prompt.
TEMPLATE = re.compile(
    r"#\s*(?:the )?(?:given|original|rewritten|created|new|evolved) (?:prompt|message|instruction)\s*#"
    r"|\b(?:given|original|rewritten|evolved) (?:prompt|message|instruction)\b"
    r"|<<<(?:BEGIN|END) |<\|[a-z_]+\|>|\[/?INST\]"
    r"|\[(?:insert|enter|add|specify|placeholder|your)\b[^\]\n]{0,60}\]",  # blanks to fill in
    re.IGNORECASE,
)
# Openings of an assistant's turn.
ANSWER = re.compile(
    r"\W{0,4}(?:(?:sure|certainly|of course|absolutely|great question)\b\s*[,!.:;—-]"
    r"|here(?:'s| is| are)\b.{0,40}\b(?:prompt|version|rewrit|answer|response|step|tip|way)"
    r"|as an? (?:ai|large language|language)\b"
    r"|i(?:'m| am) (?:an ai|a (?:large )?language model|here to (?:help|assist))"
    r"|i(?:'m| am) sorry,? (?:but )?(?:i|as)\b|i apologi[sz]e\b|i can(?:no|')t (?:help|assist|fulfil|provide|comply)"
    r"|(?:assistant|answer|response|ai|bot)\s*:"
    r"|(?:(?:hello|hi|hey)\b.{0,40})?\bhow (?:can|may) i (?:help|assist) you"
    r"|thank you for (?:reaching|contacting|your (?:question|message|inquiry)))",
    re.IGNORECASE | re.DOTALL,
)


def read_list(reply: Reply, *, most: int) -> list[str] | None:
    """
    Parse a JSON list of strings, also in a code fence, in an object, or between other text; or a numbered or bulleted
    list. Returns at most `most` items; of a list that was cut off, the complete ones.
    """
    text = _final_text(reply)
    found = LIST.search(text)
    marked = next((start for start, line in _lines(text) if ITEM.match(line)), len(text))
    if found is not None and found.start() <= marked:
        items = _json_list(text, found.start(), cut=_cut(reply))
    else:
        items = _marked_list(text, least=min(2, most), cut=_cut(reply))
    items = [stripped for item in items or () if (stripped := _unquoted(item))]
    return items[:most] or None


def read_message(reply: Reply) -> list[str] | None:
    """Parse the whole reply as one prompt; None if it is cut off or an answer."""
    text = _unquoted(_final_text(reply))
    return None if _cut(reply) or not text or looks_like_answer(text) else [text]


def read_user_turn(reply: Reply) -> list[str] | None:
    """Parse the first paragraph that a model generated in the user's turn, up to the end of the turn."""
    turn = TURN_END.split(_final_text(reply), maxsplit=1)
    first, *rest = PARAGRAPH_END.split(turn[0].strip(), maxsplit=1)
    text = _unquoted(re.sub(r"\A(?:user|human)\s*:\s*", "", first, flags=re.IGNORECASE))
    whole = not _cut(reply) or len(turn) > 1 or bool(rest)
    return [text] if whole and text and not looks_like_answer(text) else None


def looks_like_answer(text: str) -> bool:
    """Return whether a text begins like an assistant's turn: with consent, a refusal, or an introduction."""
    return ANSWER.match(text.replace("’", "'")) is not None


def usable(prompt: str) -> bool:
    """Return whether a prompt is of acceptable length, free of template text, and valid UTF-8."""
    return _size(prompt) >= MIN_BYTES and len(prompt) <= MAX_CHARS and TEMPLATE.search(prompt) is None


def usable_topic(topic: str) -> bool:
    """Return whether a topic is one line of acceptable length."""
    return _size(topic) > 0 and len(topic) <= MAX_TOPIC_CHARS and "\n" not in topic


def _size(text: str) -> int:
    """Return the bytes in UTF-8; 0 for text that cannot be stored: with a NUL or an unpaired surrogate."""
    try:
        return 0 if "\0" in text else len(text.encode())
    except UnicodeEncodeError:
        return 0


def _cut(reply: Reply) -> bool:
    return reply.finish_reason == "length"


def _final_text(reply: Reply) -> str:
    """Return the text after the thinking, without an enclosing code fence; empty for an overlong reply."""
    reply_text = reply.text or ""
    if len(reply_text) > MAX_REPLY_CHARS:
        return ""
    text = reply_text.rpartition("</think>")[2].strip()
    text = "" if text.startswith("<think>") else text  # the thinking never ended
    fenced = FENCE.match(text)
    return fenced[1].strip() if fenced else text


def _unquoted(text: str) -> str:
    """Remove quotation marks or asterisks around the whole text."""
    text = text.strip()
    if text.startswith("**") and text.endswith("**") and text.count("**") == 2:
        text = text[2:-2].strip()
    around = len(text) > 1 and text[0] + text[-1] in QUOTES and text[0] not in text[1:-1]
    return text[1:-1].strip() if around else text


def _json_list(text: str, start: int, *, cut: bool) -> list[str] | None:
    try:
        value, _ = DECODER.raw_decode(text, start)
    except RecursionError:
        return None
    except ValueError:
        return _whole_strings(text, start) if cut else None
    return value if all(isinstance(item, str) for item in value) else None


def _whole_strings(text: str, start: int) -> list[str] | None:
    try:
        return [DECODER.decode(found[0]) for found in STRING.finditer(text, start)]
    except ValueError:
        return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their offsets."""
    place = 0
    for line in text.splitlines(keepends=True):
        yield place, line
        place += len(line)


def _marked_list(text: str, *, least: int, cut: bool) -> list[str] | None:
    """Parse `1. …` or `- …`, of one kind, with at least `least` items, which continue up to a blank line."""
    items: list[str] = []
    numbered = is_open = False
    for _, line in _lines(text):
        found = ITEM.match(line)
        if found and (not items or numbered == bool(found["number"])):
            numbered = bool(found["number"])
            items.append(found["text"].strip())
            is_open = True
        elif not line.strip():
            is_open = False
        elif is_open:
            items[-1] += f"\n{line.strip()}"
    whole = items[:-1] if cut else items
    return whole if len(items) >= least else None
