"""
Scripted models for tests of whole runs: the answers state their quality, and the judges read it.

A writer's answer is better with a higher seed (quality 1 for seed 0), and judges follow that. Words in a prompt cause
faults: "refuse" an error, "long" a cut-off, "same" the same answer every time, "leak" a part of a chat template,
"equal" a tie, "unjudged" no verdict. So do words in the name of a model: `first` prefers what is shown first,
`mumbling` never gives a verdict, `broken` fails.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.recipe.load import Recipe, make_recipe
from tests.chat_server import Answer, ChatServer, Messages, better, last, rating
from tests.data import write_jsonl

MARKS = re.compile(r"quality (\d+)")
TOPICS = ("billing", "sharing albums", "restoring photos")
PLACES = ("Lisbon", "Oslo", "Naples", "Quito", "Hanoi", "Perth", "Kyoto", "Tunis", "Dakar", "Riga", "Lima", "Cork")


def reply(messages: Messages, params: Mapping[str, Any]) -> Answer:
    """Answer by the model's name and the last turn."""
    name = params["model"]
    if "broken" in name:
        return 400
    if "judge" in name:
        return judge(name, messages)
    return make_prompts(messages) if "maker" in name else write(messages, params)


def write(messages: Messages, params: Mapping[str, Any]) -> Answer:
    """Return an answer that depends on the model's name, temperature and seed."""
    asked = last(messages)
    if "refuse" in asked:
        return 400
    seed = 0 if "same" in asked else params["seed"]
    steps = " ".join(f"Then check step {step} on the screen." for step in range(seed))
    by = f"{params['model']}/{params['temperature']}"
    text = f"Open Backups, pick the day, and choose Restore. {steps} This is quality {seed + 1} by {by}."
    text += " <|im_end|>" if "leak" in asked else ""
    return (text, "length") if "long" in asked else text


def judge(name: str, messages: Messages) -> Answer:
    """Return a verdict by the qualities inside the fences."""
    asked = messages[1]["content"]
    qualities = [int(mark) for mark in MARKS.findall(asked)]
    if "mumbling" in name or "unjudged" in asked:
        return "I would rather not say."
    qualities = [3 for _ in qualities] if "equal" in asked else qualities
    if '"better"' in asked:
        one, two = qualities
        return better("A" if "first" in name or one > two else "B" if two > one else "tie")
    aspects = re.findall(r'"(\w+)": <1 to', asked)
    return rating(min(qualities[-1], 5), *aspects, reason=f"It says {qualities[-1]}.")


def make_prompts(messages: Messages) -> Answer:
    """Return topics, or questions that are not too similar to each other."""
    asked = last(messages)
    if "Name" in asked and "topics" in asked:
        return json.dumps(TOPICS)
    topic = (re.findall(r"Topic: (.*)", asked) or ["backup"])[0]
    level = (re.findall(r"Difficulty for the assistant: (.*)", asked) or ["plain"])[0]
    return json.dumps(
        [f"As a {level} case of {topic}, how do I {topic} near {place} this time?" for place in PLACES[:5]]
    )


def prompts(path: Path, *texts: str | Mapping[str, Any], count: int = 0) -> Path:
    """Write a file of prompts: `count` plain ones, then the given ones."""
    plain = [f"How do I restore photo number {number} from last week's backup?" for number in range(count)]
    return write_jsonl(path, [{"prompt": text} if isinstance(text, str) else text for text in (*plain, *texts)])


def recipe(path: Path | str | None, **sections: Any) -> Recipe:
    """Return a recipe over a source with default settings, and all pairs in the train split."""
    tree: dict[str, Any] = {"split": {"test": 0}, "source": {"paths": [str(path)] if path else []}}
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return make_recipe(tree)


def whole(server: ChatServer, path: Path | str | None, **sections: Any) -> Recipe:
    """Return a recipe with two answers of one writer per prompt and one judge."""
    given = {"generate": {"models": [server.line("writer")]}, "judge": {"models": [server.line("judge")]}}
    return recipe(path, **given | sections)
