"""
Requests to a model that writes rubrics, and how its replies are read.

It is shown labelled pairs, fenced as those that are judged, with the better answer now as A, now as B. Its reply is an
object of texts, of which we make the rubric: so every draft has the form of the shipped ones, `{scale}` included.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipelines.clients.requests import Messages, Reply, Request
from pipelines.judges.llm import CUT_OFF, MORE_ROOM
from pipelines.judges.parse import BadReply, parse_object, shown
from pipelines.judges.rubrics import (
    MATERIAL,
    Rubric,
    answer_text,
    conversation_text,
    fence,
    repair_messages,
    texts_schema,
)

NAME = "rubric"  # of a draft, as of the file `rubric.txt`: a judge sees the name of its rubric
MAX_CHARS = 4_000  # of a draft; the shipped ones have some 500
INVISIBLE = ("Cc", "Cf", "Co", "Cs")  # Unicode categories: a person is to see all that the judge reads
JOINERS = "\u200c\u200d"  # of these, what scripts and emoji are written with
GAP = " […] "  # where a text was shortened
# What a draft consists of, with the instruction for each part, and the rubric that is made of it; by judge.method.
PARTS = {
    "rubric": {
        "question": "what is graded, as one short question",
        "criteria": "what to look at and how to weigh it, in a few sentences",
        "worst": "what an answer of the lowest grade is like, in one line",
        "middle": "what an answer of the middle grade is like, in one line",
        "best": "what an answer of the highest grade is like, in one line",
    },
    "pairwise": {
        "question": "which answer is better, as one short question",
        "criteria": "what to look at and how to weigh it, in a few sentences",
        "tie": "when to call it a tie, in one line",
    },
}
LAYOUT = {
    "rubric": "{question}\n{criteria}\n1: {worst}\n{{middle}}: {middle}\n{{scale}}: {best}",
    "pairwise": "{question}\n{criteria}\n{tie}",
}
READER = {"rubric": "grades one answer at a time", "pairwise": "compares two answers"}
TASK = (
    "These are {pairs} pairs of answers, each with the label that people gave it: which of the two is better. Write a "
    "rubric for another model, which {reader} and sees nothing but the conversation and what it judges. Its verdicts "
    "should agree with labels like these, on other conversations.\n\n"
    "Find out what the better answers have in common here, and what misleads: length, tone or format may or may not "
    "matter to the people who labelled. Say what counts most. Write of what answers do in general, never of these "
    "pairs.{about}\n\n"
    "This is the rubric in use. Yours replaces it, if its verdicts agree with more labels:\n\n{baseline}\n\n"
    "Reply with one JSON object of this form and nothing else:\n{form}"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A rubric that a model wrote, or why its reply is none."""

    number: int
    text: str | None
    problem: str | None = None
    reply: str | None = None  # where it was not usable; null = there was none


def writing_messages(
    method: str, baseline: Sequence[Rubric], pairs: Sequence[Mapping[str, Any]], *, about: str | None, chars: int
) -> list[dict[str, str]]:
    """Build the request for a rubric from rows of STAGED, whose texts together are shortened to `chars` characters."""
    sides = [("chosen", "rejected") if _shows_better_first(pair) else ("rejected", "chosen") for pair in pairs]
    texts = [
        [conversation_text(pair["prompt"]), *(answer_text(pair[side]) for side in order)]
        for pair, order in zip(pairs, sides, strict=True)
    ]
    most = _level([len(text) for three in texts for text in three], chars)
    texts = [[_shortened(text, most) for text in three] for three in texts]
    every = [text for three in texts for text in three]
    material = []
    for number, (three, order) in enumerate(zip(texts, sides, strict=True), start=1):
        labels = (f"CONVERSATION {number}", f"ANSWER A OF {number}", f"ANSWER B OF {number}")
        material += [fence(text, label, beside=every) for text, label in zip(three, labels, strict=True)]
        material.append(f"Label of {number}: {'A' if order[0] == 'chosen' else 'B'} is better.")
    form = ", ".join(f'"{part}": "<{what}>"' for part, what in PARTS[method].items())
    asked = TASK.format(
        pairs=len(pairs),
        reader=READER[method],
        about=f"\nAbout the data set: {about}" if about else "",
        baseline="\n\n".join(rubric.text for rubric in baseline),
        form=f"{{{form}}}",
    )
    return [{"role": "user", "content": "\n\n".join([MATERIAL, *material, asked])}]


def writing_request(messages: Messages, method: str, params: Mapping[str, Any], sample: int) -> Request:
    """Build the request for a draft; one that cannot be used is repaired once."""
    first = Request(messages, params, sample)
    return replace(first, then=partial(_repair, first, method))


def draft_schema(method: str) -> dict[str, Any]:
    """`response_format` of a draft."""
    return texts_schema("rubric", list(PARTS[method]))


def read_draft(number: int, method: str, reply: Reply) -> Draft:
    """Read a reply as a draft."""
    if reply.text is None:
        return Draft(number, None, reply.error)
    try:
        if reply.finish_reason == "length":
            raise BadReply(CUT_OFF)
        return Draft(number, parse_draft(reply.text, method))
    except BadReply as bad:
        return Draft(number, None, bad.problem, reply.text)


def parse_draft(reply: str, method: str) -> str:
    """Parse a reply, and return the text of its rubric. Raises BadReply."""
    found = parse_object(reply, list(PARTS[method]))
    text = LAYOUT[method].format(**{part: _plain(part, found[part]) for part in PARTS[method]})
    if len(text) > MAX_CHARS:
        raise BadReply(f"the rubric has {len(text):,} characters, expected at most {MAX_CHARS:,}")
    return text


def _repair(first: Request, method: str, reply: Reply) -> Request | None:
    """Return the request that follows an unusable reply, whose own reply then counts."""
    if reply.text is None:  # it thought for too long, or the request failed
        return first.with_room(MORE_ROOM * first.max_tokens) if reply.finish_reason == "length" else None
    found = read_draft(0, method, reply)
    if found.text is not None:
        return None
    messages = repair_messages(first.messages, reply.text, found.problem or "")
    # A stored reply that repairs nothing is asked for again by the next start.
    return Request(
        messages, first.params, first.sample, accepts=lambda stored: read_draft(0, method, stored).text is not None
    )


def _plain(part: str, value: Any) -> str:
    """Return a part of a draft as visible text; only the criteria may have several lines."""
    if not isinstance(value, str):
        raise BadReply(f"{part} is {shown(value)}, expected a text")
    if "<<<BEGIN" in value or "<<<END" in value:
        raise BadReply(f"{part} repeats a marker line, expected criteria in your own words")
    value = value.replace("\t", " ")
    seen = "".join(c for c in value if c in JOINERS or c == "\n" or unicodedata.category(c) not in INVISIBLE)
    lines = [" ".join(line.split()) for line in seen.splitlines()]
    text = ("\n" if part == "criteria" else " ").join(filter(None, lines))
    if not text:
        raise BadReply(f"{part} is empty")
    return text


def _shows_better_first(pair: Mapping[str, Any]) -> bool:
    return int(pair["pair_id"][-1], 16) % 2 == 0  # the last digit of a hash


def _level(lengths: Sequence[int], total: int) -> int:
    """Return the largest length to which texts can be shortened so that they have `total` characters together."""
    left, ordered = total, sorted(lengths)
    for place, length in enumerate(ordered):
        share = left // (len(ordered) - place)
        if length > share:
            return max(share, 1)
        left -= length
    return max(lengths)


def _shortened(text: str, most: int) -> str:
    """Return the beginning and the end of a text that is longer than `most` characters."""
    tail = -(-most // 3)
    return text if len(text) <= most else f"{text[: most - tail]}{GAP}{text[-tail:]}"
