"""Verdicts: every answer rated alone, or every two compared in both orders; by LLMs, a reward model or a heuristic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from curate.errors import RecipeError
from curate.recipe import Judge, Model
from pipelines.clients.requests import Messages, Reply, Request, SendRequests
from pipelines.judges.parse import BadReply, Comparison, Rating, parse_comparison, parse_rating
from pipelines.judges.rubrics import (
    Rubric,
    comparison_messages,
    comparison_schema,
    load_rubric,
    rating_messages,
    rating_schema,
    repair_messages,
)
from pipelines.judges.scoring import VERDICTS

HEURISTIC, REWARD = "heuristic", "reward:"
CUT_OFF = "it is longer than max_tokens and was cut off; be brief"
COMPARED = {"A": 1.0, "B": 0.0, "tie": 0.5}  # for the answer that is shown first
Score = Callable[[pl.DataFrame], pl.DataFrame]  # CANDIDATES -> score, reason, row for row


def is_llm(model: Model) -> bool:
    """Whether a judge is asked with words; the others score by themselves."""
    return model.model != HEURISTIC and not model.model.startswith(REWARD)


def check(section: Judge) -> None:
    """Raise RecipeError for rubrics that are not there or share a name, and for judges that cannot be told apart."""
    names = [rubric.name for rubric in rubrics(section)]
    if twice := _twice(names):
        raise RecipeError(f"judge.aspects: two rubrics have the name {twice}; leave one out, or rename its file")
    if twice := _twice([model.name for model in section.models]):
        raise RecipeError(
            f"judge.models: {twice} stands there twice; the judges of a panel are told apart by their name"
        )
    if system := [model.name for model in section.models if model.system]:
        raise RecipeError(f"judge.models: {system[0]} has a system prompt; what a judge is told stands in its rubric")


def _twice(names: Sequence[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)


def rubrics(section: Judge) -> list[Rubric]:
    """The texts the judges go by: one for each aspect, else the rubric."""
    if section.method == "pairwise":
        if section.aspects:
            raise RecipeError("judge.aspects: two answers are compared as a whole; use method rubric for aspects")
        return [load_rubric("pairwise" if section.rubric == "overall" else section.rubric)]
    return [load_rubric(name) for name in section.aspects or (section.rubric,)]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing a judge is asked: what it is about, its words, and how the reply is read."""

    about: Mapping[str, Any]  # candidate_id, other_id, shown_first, source, source_row
    messages: Messages
    read: Callable[[str], Rating | Comparison]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: a verdict, or the raw reply or the error that is none."""

    verdict: Rating | Comparison | None
    raw: str | None = None
    error: str | None = None


def questions(candidates: pl.DataFrame, section: Judge) -> list[Question]:
    """
    What each LLM judge is asked about the answers of CANDIDATES; those with a null response are left out.

    rubric: one question for each answer. pairwise: two for every two answers of a set that say something different,
    each shown first once.
    """
    made = _comparisons if section.method == "pairwise" else _ratings
    return list(made(candidates.filter(pl.col("response").is_not_null()), section))


def verdicts(
    candidates: pl.DataFrame, section: Judge, clients: Mapping[str, SendRequests], scores: Mapping[str, Score]
) -> pl.DataFrame:
    """
    in : CANDIDATES, whole sets; functions that ask the LLM judges and that score for the others, by the judge's line
    out: VERDICTS of all judges. A reply that cannot be used is asked for once more, then its score is null.
    """
    asked = questions(candidates, section) if clients else []

    def judged(model: Model) -> pl.DataFrame:
        if not is_llm(model):
            return _scored(candidates, model, scores[model.model])
        return _frame(asked, _ask(asked, _params(section, model), clients[model.model]), model, section)

    with ThreadPoolExecutor(len(section.models)) as pool:  # a panel judges at the same time
        return pl.concat(pool.map(judged, section.models))


def _ratings(candidates: pl.DataFrame, section: Judge) -> Iterator[Question]:
    texts = rubrics(section)
    names = [text.name for text in texts]
    for row in candidates.iter_rows(named=True):
        yield Question(
            {key: row[key] for key in ("candidate_id", "source", "source_row")},
            rating_messages(texts, row["prompt"], row["response"], scale=section.scale),
            lambda reply: parse_rating(reply, names, section.scale),
        )


def _comparisons(candidates: pl.DataFrame, section: Judge) -> Iterator[Question]:
    rubric = rubrics(section)[0]
    for (source, source_row), rows in candidates.group_by("source", "source_row", maintain_order=True):
        for one, two in combinations(rows.to_dicts(), 2):
            if one["response"] == two["response"]:  # as they often do at low temperatures
                continue
            for first, second in ((one, two), (two, one)):
                about = {"candidate_id": one["candidate_id"], "other_id": two["candidate_id"]}
                yield Question(
                    {**about, "shown_first": first is one, "source": source, "source_row": source_row},
                    comparison_messages(rubric, one["prompt"], first["response"], second["response"]),
                    parse_comparison,
                )


def _params(section: Judge, model: Model) -> dict[str, Any]:
    temperature = 0.0 if model.temperature is None else model.temperature
    params: dict[str, Any] = {"temperature": temperature, "max_tokens": model.max_tokens or section.max_tokens}
    if model.top_p is not None:
        params["top_p"] = model.top_p
    if section.seed is not None:
        params["seed"] = section.seed
    if section.structured:
        names = [rubric.name for rubric in rubrics(section)]
        pairwise = section.method == "pairwise"
        params["response_format"] = comparison_schema() if pairwise else rating_schema(names, section.scale)
    return params | model.extra


def judge_requests(candidates: pl.DataFrame, section: Judge, model: Model) -> list[Request]:
    """The first requests to one judge (a bad reply adds one), for an estimate of what they cost."""
    params = _params(section, model)
    return [Request(question.messages, params) for question in questions(candidates, section)]


def _ask(asked: Sequence[Question], params: Mapping[str, Any], ask: SendRequests) -> list[Answer]:
    """
    Ask, and ask once more where the reply is no verdict; what comes then counts, whatever it is. So a request to repair
    that fails leaves an error without a raw reply, and the next start asks again.
    """
    replies = ask([Request(question.messages, params) for question in asked])
    answers = [_read(question, reply) for question, reply in zip(asked, replies, strict=True)]
    bad = [place for place, answer in enumerate(answers) if answer.raw is not None]
    again = [
        Request(repair_messages(asked[place].messages, answers[place].raw or "", answers[place].error or ""), params, 1)
        for place in bad
    ]
    for place, reply in zip(bad, ask(again) if again else (), strict=True):
        answers[place] = _read(asked[place], reply)
    return answers


def _read(question: Question, reply: Reply) -> Answer:
    if reply.text is None:
        return Answer(None, error=reply.error)
    if reply.finish_reason == "length":  # also where it looks whole: what was to follow is not known
        return Answer(None, reply.text, CUT_OFF)
    try:
        return Answer(question.read(reply.text))
    except BadReply as bad:
        return Answer(None, reply.text, str(bad))


def _frame(asked: Sequence[Question], answers: Sequence[Answer], model: Model, section: Judge) -> pl.DataFrame:
    texts = rubrics(section)
    rows: list[dict[str, Any]] = []
    for question, answer in zip(asked, answers, strict=True):
        row = {
            "judge": model.name,
            "method": section.method,
            "raw": answer.raw,
            "error": answer.error,
            **question.about,
        }
        verdict = answer.verdict
        reason = verdict.reason if verdict else None
        if section.method == "pairwise":
            score = None
            if isinstance(verdict, Comparison):
                score = COMPARED[verdict.better] if question.about["shown_first"] else 1 - COMPARED[verdict.better]
            of_rubric = {"rubric": texts[0].name, "rubric_hash": texts[0].hash}
            rows.append({**row, **of_rubric, "score": score, "reason": reason})
            continue
        for text in texts:
            rating = verdict.ratings[text.name] if isinstance(verdict, Rating) else None
            of_rubric = {"rubric": text.name, "rubric_hash": text.hash, "aspect": text.name}
            rows.append({**row, **of_rubric, "score": rating, "reason": reason})
    return pl.DataFrame(rows, schema=VERDICTS)


def _scored(candidates: pl.DataFrame, model: Model, score: Score) -> pl.DataFrame:
    """The verdicts of a judge that scores by itself: one for each answer."""
    answered = candidates.filter(pl.col("response").is_not_null())
    scored = score(answered)
    ids = answered.select("source", "source_row", "candidate_id")
    method = HEURISTIC if model.model == HEURISTIC else REWARD.rstrip(":")
    return ids.with_columns(
        scored.get_column("score"),
        scored.get_column("reason"),
        judge=pl.lit(model.name),
        method=pl.lit(method),
        aspect=pl.lit("overall"),
        **{name: pl.lit(None, VERDICTS[name]) for name in ("rubric", "rubric_hash", "other_id", "raw", "error")},
        shown_first=pl.lit(None, pl.Boolean),
    ).match_to_schema(VERDICTS)
