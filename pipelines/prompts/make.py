"""Generate prompts for a domain in rounds: request, parse the replies, and keep what is new."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, zip_longest
from typing import Any

import polars as pl

from curate.recipe.models import Prompts
from curate.schema import MESSAGES, PROMPTS, prompt_ids
from curate.signals.language import language
from pipelines.clients.requests import Request, SendRequests
from pipelines.prompts.methods import Task, check, tasks, topics_task
from pipelines.prompts.novelty import Novelty
from pipelines.prompts.replies import usable, usable_topic

# Language confidence from which a prompt counts as foreign; no false positive in 2,793 English prompts (LLMBar,
# AlpacaEval, hh-rlhf).
SURE = 0.8
POOR = 5  # a round is poor if less than a fifth of the requested prompts is new …
MAX_POOR = 3  # … and generation stops after this many poor rounds


@dataclass(frozen=True, slots=True)
class NewPrompts:
    """
    New prompts as PROMPTS (`extra` holds method, topic, difficulty, model, seed or document), and a summary.

    summary: counts of requests (asked, failed), bad_replies (not in the requested form) and rounds; of the prompts in
    the replies: kept, duplicates, unusable, other_language, surplus (beyond n); kept ones by topic and by difficulty.
    """

    prompts: pl.DataFrame
    summary: Mapping[str, Any]


def make_prompts(section: Prompts, seeds: Sequence[str], ask: SendRequests) -> NewPrompts:
    """
    Return at most `section.n` prompts, none similar to a seed or to another one; deterministic given the replies.

    Every round requests the missing number and a fifth more. Generation ends when the number is reached, when a round
    brings nothing new, or after three poor rounds. Raises RecipeError for a method without its starting material, and
    whatever `ask` raises.
    """
    seeds = [seed for seed in seeds if seed.strip()]
    check(section, seeds)
    request_all = _Requester(section, ask)
    topics = _topics(section, seeds, request_all)
    keep_new = _Filter(section, seeds, request_all.tally)
    remaining = tasks(section, seeds, topics)
    kept: list[tuple[Task, str]] = []
    poor = 0
    while len(kept) < section.n and poor < MAX_POOR:
        missing = section.n - len(kept)
        requested = -(-missing * 6 // 5)
        new = keep_new(request_all(_take(remaining, requested)), missing)
        request_all.tally["rounds"] += 1
        kept += new
        poor += len(new) * POOR < requested
        if not new:
            break
    return NewPrompts(_frame(section, kept), _summary(section, topics, kept, request_all.tally))


class _Requester:
    """Sends tasks as numbered requests and pairs each prompt in the replies with its task."""

    def __init__(self, section: Prompts, ask: SendRequests) -> None:
        self._ask, self._numbers, self._seed = ask, count(), section.seed
        model = section.model
        self._params: dict[str, Any] = {
            "temperature": section.temperature if model.temperature is None else model.temperature,
            "max_tokens": model.max_tokens or section.max_tokens,
            **({} if model.top_p is None else {"top_p": model.top_p}),
        }
        self._extra = model.extra
        self.tally: Counter[str] = Counter()

    def __call__(self, requested: Sequence[Task]) -> list[tuple[Task, str]]:
        """Return the first prompt of every reply, then the second of every reply, …, so that all tasks contribute."""
        replies = self._ask(
            [self._request(task, number) for task, number in zip(requested, self._numbers, strict=False)]
        )
        found: list[list[tuple[Task, str]]] = []
        for task, reply in zip(requested, replies, strict=True):
            prompts = task.read(reply) if reply.error is None else []
            self.tally["asked"] += 1
            self.tally["failed"] += reply.error is not None
            self.tally["bad_replies"] += prompts is None
            found.append([(task, prompt) for prompt in prompts or ()])
        return [one for place in zip_longest(*found) for one in place if one is not None]

    def _request(self, task: Task, number: int) -> Request:
        params = {**self._params, "seed": self._seed + number, **self._extra, **task.params}
        return Request(task.messages, params, number)


class _Filter:
    """Filters prompts and counts the dropped ones by reason."""

    def __init__(self, section: Prompts, seeds: Sequence[str], tally: Counter[str]) -> None:
        self._tally = tally
        self._novelty = Novelty(section.max_similarity, seeds)
        # Questions about documents are in the documents' languages, not the seeds'.
        self._languages = set() if section.method == "documents" else _languages(seeds)

    def __call__(self, found: Sequence[tuple[Task, str]], most: int) -> list[tuple[Task, str]]:
        fit = [one for one in found if usable(one[1])]
        self._tally["unusable"] += len(found) - len(fit)
        foreign = self._foreign([prompt for _, prompt in fit])
        self._tally["other_language"] += sum(foreign)
        new = [
            one for one, is_foreign in zip(fit, foreign, strict=True) if not is_foreign and self._novelty.add(one[1])
        ]
        self._tally["duplicates"] += len(fit) - sum(foreign) - len(new)
        self._tally["surplus"] += len(new[most:])
        return new[:most]

    def _foreign(self, texts: Sequence[str]) -> list[bool]:
        """Return whether each text is certainly in a language of no seed; False where the seeds' is unknown."""
        if not self._languages:
            return [False] * len(texts)
        found = language(pl.Series(texts, dtype=pl.String))
        other = (pl.col("language_confidence") >= SURE) & ~pl.col("language").is_in(self._languages)
        return found.select(other.fill_null(value=False)).to_series().to_list()


def _topics(section: Prompts, seeds: Sequence[str], request_all: _Requester) -> list[str]:
    """Return the section's topics, or those that the model names; empty for methods without topics."""
    if section.method != "self_instruct":
        return []
    named = section.topics or [topic for _, topic in request_all([topics_task(section, seeds)]) if usable_topic(topic)]
    return list({topic.casefold(): topic for topic in named}.values())


def _languages(seeds: Sequence[str]) -> set[str]:
    """Return the languages of the seeds; empty if none is certain."""
    found = language(pl.Series(seeds, dtype=pl.String))
    sure = (found.get_column("language_confidence") >= SURE).any()
    return set(found.get_column("language").drop_nulls()) if sure else set()


def _take(remaining: Iterator[Task], requested: int) -> list[Task]:
    taken: list[Task] = []
    while requested > 0:
        taken.append(next(remaining))
        requested -= taken[-1].prompts
    return taken


def _frame(section: Prompts, kept: Sequence[tuple[Task, str]]) -> pl.DataFrame:
    always = {"method": section.method, "model": section.model.name}
    tags = ({**always, **{name: tag for name, tag in task.tags.items() if tag is not None}} for task, _ in kept)
    columns = {
        "prompt": pl.Series([[{"role": "user", "content": prompt}] for _, prompt in kept], dtype=MESSAGES),
        "source_row": pl.Series(range(len(kept)), dtype=PROMPTS["source_row"]),
        "extra": pl.Series([json.dumps(tag, ensure_ascii=False) for tag in tags], dtype=pl.String),
    }
    frame = pl.DataFrame(columns).with_columns(prompt_ids(), source=pl.lit(f"prompts:{section.method}"))
    return frame.select(list(PROMPTS))


def _summary(
    section: Prompts, topics: Sequence[str], kept: Sequence[tuple[Task, str]], tally: Mapping[str, int]
) -> dict[str, Any]:
    counts = ("asked", "failed", "bad_replies", "rounds", "unusable", "other_language", "duplicates", "surplus")
    by_topic = Counter(task.tags.get("topic") for task, _ in kept)
    by_difficulty = Counter(task.tags.get("difficulty") for task, _ in kept)
    difficulties = section.difficulties if section.method in ("self_instruct", "documents") else ()
    return {
        "method": section.method,
        "model": section.model.name,
        **{name: tally[name] for name in counts},
        "kept": len(kept),
        "topics": {topic: by_topic[topic] for topic in topics},
        "difficulties": {degree: by_difficulty[degree] for degree in difficulties},
    }
