"""
Sets whose prompts and answers lie inside objects: exports of annotation tools, and OpenAI's summaries.

in : as in `EXPORTS`
out: ANSWERS; of several annotators' choices the score of an answer is their number
"""

from collections.abc import Iterator, Sequence
from typing import Any

from curate.sources.formats.answer_items import Item, first_of, number
from curate.sources.formats.answer_lists import AnswerList, Values, sample
from curate.sources.formats.names import PROMPT
from curate.sources.raw_block import Columns

ANSWERS_OF_TASK = (
    ("answer1", "answer2"), ("answer_1", "answer_2"), ("response1", "response2"), ("response_1", "response_2"),
    ("answer_a", "answer_b"), ("response_a", "response_b"), ("response-1", "response-2"), ("text1", "text2"),
    ("left", "right"),
)  # fmt: skip
CHOSEN = ({"left", "first", "1", "a"}, {"right", "second", "2", "b"})
SUMMARIES = ("info", "summaries", "choice")


def _label_studio(columns: Columns) -> dict[str, str] | None:
    """Return the columns of a task and its annotations."""
    if not {"data", "annotations"} <= set(columns) or _sides(sample(columns["data"])) is None:
        return None
    return {"answers_task": "data", "answers_annotations": "annotations"}


def _argilla(columns: Columns) -> dict[str, str] | None:
    """Return the columns of a record's fields and its responses."""
    if not {"fields", "responses"} <= set(columns) or _sides(sample(columns["fields"])) is None:
        return None
    return {"answers_task": "fields", "answers_annotations": "responses"}


def _summaries(columns: Columns) -> dict[str, str] | None:
    """Return the columns of a post, two summaries of it, and the index of the better one, from 0."""
    if not set(SUMMARIES) <= set(columns) or not all(choice in (0, 1) for choice in sample(columns["choice"])):
        return None
    return {f"answers_{name}": name for name in SUMMARIES}


def _sides(tasks: Sequence[Any]) -> tuple[str, str] | None:
    """Return the names of the two answers in the first tasks."""
    known = [task for task in tasks if isinstance(task, dict)]
    return next((sides for sides in ANSWERS_OF_TASK if known and all(set(sides) <= set(task) for task in known)), None)


def _prompt_of_task(values: Values) -> str | None:
    task = values.get("answers_task")
    prompt = first_of(PROMPT, task) if isinstance(task, dict) else None
    return prompt if isinstance(prompt, str) else None


def _prompt_of_summaries(values: Values) -> str | None:
    """Return the post in the form of the paper's prompts (arXiv 2009.01325, appendix B.5), or the article."""
    info = values.get("answers_info")
    if not isinstance(info, dict):
        return None
    heads = (("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post"))
    if info.get("article"):
        heads = (("TITLE: ", "title"), ("ARTICLE: ", "article"), ("", ""))
    parts = [f"{head}{info[name]}" for head, name in heads if isinstance(info.get(name), str) and info[name]]
    return "\n\n".join([*parts, "TL;DR:"]) if parts else None


def _of_task(choices: Any) -> Any:
    """Return a reading of a task's two answers, with the number of annotators who chose each."""

    def items(values: Values) -> list[Item]:
        task = values.get("answers_task")
        sides = _sides([task])
        if not isinstance(task, dict) or sides is None:
            return []
        votes = [_side(choice, sides) for choice in choices(values.get("answers_annotations"))]
        known = [vote for vote in votes if vote is not None]
        return [
            {"response": task[side], "score": float(sum(vote == n for vote in known)) if known else None}
            for n, side in enumerate(sides)
        ]

    return items


def _side(choice: Any, sides: tuple[str, str]) -> int | None:
    """Return which answer a choice names: 0, 1, -1 for both or neither; None where nothing was chosen."""
    if not isinstance(choice, str) or not choice.strip():
        return None
    word = choice.strip().lower()
    return next((n for n in (0, 1) if word == sides[n].lower() or word in CHOSEN[n]), -1)


def _label_studio_choices(annotations: Any) -> Iterator[Any]:
    """Yield what each annotator selected, left or right; a cancelled annotation says nothing."""
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result") or ():
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and isinstance(selected := value.get("selected"), str):
                yield selected
            elif isinstance(value, dict) and isinstance(choices := value.get("choices"), list) and len(choices) == 1:
                yield choices[0]


def _argilla_choices(responses: Any) -> Iterator[Any]:
    """Yield what each annotator answered to the question about the preference; only submitted answers count."""
    questions = responses.values() if isinstance(responses, dict) else [responses]
    for answers in questions:
        for answer in answers if isinstance(answers, list) else ():
            if not isinstance(answer, dict) or answer.get("status", "submitted") not in ("submitted", None):
                continue
            values = answer.get("values", answer)  # {"value": …}, or {"values": {question: {"value": …}}}
            for value in (values,) if "value" in values else values.values():
                if isinstance(value, dict) and isinstance(value.get("value"), str):
                    yield value["value"]


def _of_summaries(values: Values) -> list[Item]:
    summaries, choice = values.get("answers_summaries"), number(values.get("answers_choice"))
    if not isinstance(summaries, list):
        return []
    return [
        {
            "response": summary.get("text", "").strip(),
            "model": summary.get("policy"),
            "score": None if choice is None else float(place == choice),
        }
        for place, summary in enumerate(summaries)
        if isinstance(summary, dict)
    ]


EXPORTS: dict[str, AnswerList] = {
    "label_studio": AnswerList(
        "Label Studio's export of comparisons: a task with two answers, and annotations that select one.",
        _label_studio, _of_task(_label_studio_choices), _prompt_of_task,
    ),
    "argilla": AnswerList(
        "Argilla's export of comparisons: fields with two answers, and responses that name one.",
        _argilla, _of_task(_argilla_choices), _prompt_of_task,
    ),
    "summarize_from_feedback": AnswerList(
        "OpenAI's comparisons of two summaries of a post or an article.",
        _summaries, _of_summaries, _prompt_of_summaries,
    ),
}  # fmt: skip
