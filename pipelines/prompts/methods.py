"""
Methods of generating prompts. Each is an endless iterator of tasks, from which a round takes as many as it needs.

The texts that are sent are in texts/. Text of users and documents is inserted as values, fenced or as JSON, and never
interpreted as a template.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from curate.errors import RecipeError
from curate.recipe.models import Prompts
from pipelines.clients.requests import Messages
from pipelines.judges.rubrics import fence
from pipelines.prompts.passages import Passage, read_passages
from pipelines.prompts.replies import Reader, read_list, read_message, read_user_turn

PROMPTS_PER_REQUEST = 5  # upper bound
SHOWN_SEEDS = 4
SHOWN_CHARS = 1_000  # of a seed that serves as an example
MAX_SEED_CHARS = 8_000  # of a seed to rewrite; anything longer is a document
TOPICS = (5, 30)  # least and most that are requested, so that each topic and difficulty fills one request

# After Evol-Instruct (Xu et al. 2023, arXiv 2304.12244): five in-depth operations and one in breadth.
OPERATIONS = {
    "constrain": "Add one condition or requirement that the answer has to meet.",
    "deepen": "Make it ask further: for causes, consequences or limits, where it asks for a fact or a list.",
    "concretize": "Replace what is general by something specific: a real case, numbers, names, versions.",
    "reason": "Change it so that answering takes several steps that build on each other.",
    "situate": "Put it into a situation with facts that matter for the answer, some of them easy to overlook.",
    "vary": "Write another message of the same domain, about something rarer, as long and as hard as this one.",
}


@dataclass(frozen=True, slots=True)
class Task:
    """One request: its messages, the number of prompts, their tags, and how the reply is parsed."""

    messages: Messages
    read: Reader
    tags: Mapping[str, Any]
    prompts: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)


def check(section: Prompts, seeds: Sequence[str]) -> None:
    """Raise RecipeError where the method lacks its starting material."""
    if section.method == "self_instruct" and not section.description and not seeds:
        raise RecipeError("prompts.method self_instruct needs prompts.description, or seeds: a source with prompts")
    if section.method == "evolve" and not seeds:
        raise RecipeError("prompts.method evolve rewrites seeds, and there are none: name a source with prompts")
    if section.method == "evolve" and min(map(len, seeds)) > MAX_SEED_CHARS:
        raise RecipeError(
            f"prompts.method evolve rewrites seeds of up to {MAX_SEED_CHARS:,} characters; all are longer"
        )
    if section.method == "documents" and not section.documents:
        raise RecipeError("prompts.method documents needs prompts.documents: text files, folders or globs")


def topics_task(section: Prompts, seeds: Sequence[str]) -> Task:
    """Return the task that requests topics of the domain."""
    number = max(TOPICS[0], min(TOPICS[1], -(-section.n // (PROMPTS_PER_REQUEST * max(1, len(section.difficulties))))))
    text = _render("topics", description=section.description, examples=_examples(section, seeds, 0), count=number)
    return Task(_chat(section, text), partial(read_list, most=number), {})


def tasks(section: Prompts, seeds: Sequence[str], topics: Sequence[str]) -> Iterator[Task]:
    """Return an endless iterator over tasks of the section's method. Raises InputError for unreadable documents."""
    if section.method == "self_instruct":
        return _self_instruct(section, seeds, topics)
    if section.method == "evolve":
        return _evolve(section, [seed for seed in seeds if len(seed) <= MAX_SEED_CHARS])
    if section.method == "documents":
        return _documents(section, read_passages(section.documents))
    return _magpie(section)


def _self_instruct(section: Prompts, seeds: Sequence[str], topics: Sequence[str]) -> Iterator[Task]:
    """Combine every topic with every difficulty, both changing from task to task."""
    spread, degrees = _or_none(topics), _or_none(section.difficulties)
    size = _size(section, len(spread) * len(degrees))
    for turn, at in ((turn, at) for turn in count() for at in range(len(spread))):
        topic, difficulty = spread[at], degrees[(at + turn) % len(degrees)]
        text = _render(
            "self_instruct",
            description=section.description,
            examples=_examples(section, seeds, 1 + turn * len(spread) + at),
            count=size,
            topic=topic,
            difficulty=difficulty,
        )
        yield Task(
            _chat(section, text), partial(read_list, most=size), {"topic": topic, "difficulty": difficulty}, size
        )


def _evolve(section: Prompts, seeds: Sequence[str]) -> Iterator[Task]:
    """Apply every operation to every seed, one round over all seeds after the other."""
    names = list(OPERATIONS)
    for turn in count():
        for at in sorted(range(len(seeds)), key=lambda at: _hash(section.seed, turn, seeds[at])):
            name = names[(at + turn) % len(names)]
            text = _render(
                "evolve",
                description=section.description,
                operation=OPERATIONS[name],
                material=fence(seeds[at], "MESSAGE"),
            )
            yield Task(_chat(section, text), read_message, {"operation": name, "seed": seeds[at]})


def _documents(section: Prompts, passages: Sequence[Passage]) -> Iterator[Task]:
    """Visit every passage once, in a pseudorandom order, then again."""
    degrees = _or_none(section.difficulties)
    size = _size(section, len(passages))
    order = sorted(passages, key=lambda passage: _hash(section.seed, passage.document, passage.number))
    for turn, (at, passage) in ((turn, found) for turn in count() for found in enumerate(order)):
        difficulty = degrees[(at + turn) % len(degrees)]
        text = _render(
            "documents",
            description=section.description,
            material=fence(passage.text, "PASSAGE"),
            count=size,
            difficulty=difficulty,
        )
        tags = {"difficulty": difficulty, "document": passage.document, "passage": passage.number}
        yield Task(_chat(section, text), partial(read_list, most=size), tags, size)


def _magpie(section: Prompts) -> Iterator[Task]:
    """
    Let the model continue its chat template from the beginning of a user's turn (Magpie, Xu et al. 2024, arXiv
    2406.08464). The parameter `continue_user` requests this from the client, since a chat completion cannot do it.
    """
    system = section.model.system or section.description
    messages = [{"role": "system", "content": system}] if system else []
    while True:
        yield Task(messages, read_user_turn, {}, params={"continue_user": True})


def _or_none(names: Sequence[str]) -> list[str | None]:
    """Return the values that tasks are spread over; [None] where there are none."""
    return [*names] or [None]


def _size(section: Prompts, cells: int) -> int:
    """Return the prompts per task, few enough that every cell (topic and difficulty, or passage) is used."""
    return max(1, min(PROMPTS_PER_REQUEST, -(-section.n * 6 // (5 * cells))))


def _chat(section: Prompts, text: str) -> Messages:
    system = [{"role": "system", "content": section.model.system}] if section.model.system else []
    return [*system, {"role": "user", "content": text}]


def _examples(section: Prompts, seeds: Sequence[str], number: int) -> str | None:
    """Return some seeds as JSON: different ones for every number, and always the same for one number."""
    drawn = dict.fromkeys(_hash(section.seed, number, draw) % len(seeds) for draw in range(4 * SHOWN_SEEDS) if seeds)
    shown = [seed if len(seed) <= SHOWN_CHARS else f"{seed[:SHOWN_CHARS]}…" for seed in (seeds[at] for at in drawn)]
    return json.dumps(shown[:SHOWN_SEEDS], ensure_ascii=False, indent=1) if shown else None


def _hash(*parts: str | int) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8])


def _render(name: str, **values: Any) -> str:
    return _texts().get_template(f"{name}.txt").render(values).strip()


@cache
def _texts() -> Environment:
    return Environment(
        loader=PackageLoader("pipelines.prompts", "texts"),
        autoescape=False,  # noqa: S701 - plain text for a model, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
