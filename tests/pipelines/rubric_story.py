"""
A scripted writer of rubrics and a judge. In the pairs the chosen answer is the shorter one.

The judge knows that only from a rubric that says so ("brief"); by any other one it prefers neither answer. "mumble" in
a rubric makes it give no verdict at all.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.chat_server import Answer, Messages, better, rating
from tests.data import write_jsonl

ANSWER = re.compile(r"<<<BEGIN ANSWER ?[AB]? \w+>>>\n(.*?)\n<<<END ANSWER", re.DOTALL)
NAMES = ("amber", "basil", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper", "kelp", "larch")
GOOD, POOR, MUMBLE = "The brief answer wins.", "The kind answer wins.", "Please mumble."


def draft(criteria: str, method: str = "rubric") -> str:
    """Return a writer's reply."""
    parts = {"question": "Which is it?", "criteria": criteria}
    rest = {"worst": "long", "middle": "so-so", "best": "short"} if method == "rubric" else {"tie": "Rarely."}
    return json.dumps(parts | rest)


def judge(messages: Messages) -> Answer:
    """Return a verdict by the rubric in the system prompt."""
    rubric, lengths = messages[0]["content"], [len(text) for text in ANSWER.findall(messages[1]["content"])]
    if "mumble" in rubric:
        return "Hm."
    if '"better"' in messages[1]["content"]:
        return better("tie" if "brief" not in rubric else "A" if lengths[0] < lengths[1] else "B")
    (aspect,) = re.findall(r'"(\w+)": <1 to', messages[1]["content"])
    return rating((5 if lengths[0] < 10 else 2) if "brief" in rubric else 3, aspect)


class Script:
    """The writer's replies, by the seed of the request; the last one stands for all later seeds."""

    def __init__(self, *replies: Answer) -> None:
        self.replies = replies

    def __call__(self, messages: Messages, params: Mapping[str, Any]) -> Answer:
        if params["model"] == "writer":
            seed: int = params["seed"]
            return self.replies[min(seed, len(self.replies) - 1)]
        return judge(messages)


def labelled(path: Path) -> Path:
    """Write twelve labelled pairs."""
    pairs = [{"prompt": f"What is {name}?", "chosen": "Yes.", "rejected": f"Well, {name} is …"} for name in NAMES]
    return write_jsonl(path, pairs)
