"""Drafting of rubrics: the settings of a call, its pairs and models, and the requests that it leads to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from curate.errors import RecipeError, ServiceError
from curate.recipe.load import Recipe, make_recipe
from curate.recipe.models import Generate, Model
from curate.recipe.models import Judge as JudgeSection
from curate.schema.section import AS_IS, COUNT, Section, checked
from pipelines.clients.requests import Request, SendRequests
from pipelines.estimator import NOT_STORED
from pipelines.generate import variants
from pipelines.inputs import answers_of, labels_of
from pipelines.judges.llm import LlmJudge, quoted
from pipelines.judges.panel import judges_of
from pipelines.judges.rubrics import Rubric, rubric_of
from pipelines.judges.validation import outcomes
from pipelines.judges.writer import NAME, PARTS, Draft, draft_schema, read_draft, writing_messages, writing_request

HELD_OUT, DEVELOPMENT, EXAMPLES = "held out", "for development", "as examples"
WRITER_TOKENS = 2048  # of a reply: about twice what the longest draft takes


class Drafting(Section):
    """How many pairs a rubric is drafted from and judged by. Similar prompts are never in two of the three parts."""

    examples: int = Field(24, ge=1, le=1000, description="Labelled pairs that are shown to the writer of a draft")
    development: int = Field(50, ge=1, le=COUNT, description="Pairs by which the best of several drafts is chosen")
    held_out: int = Field(100, ge=1, le=COUNT, description="Pairs by which it is compared with the rubric in use")
    about: Annotated[str | None, AS_IS] = Field(None, description="What the data set is for, told to the writer")
    chars: int = Field(60_000, ge=1000, le=10**7, description="Characters of all pairs in a request to the writer")
    min_gain: float = Field(0, ge=0, le=1, description="Least gain in agreement by which a draft is kept")


def drafting(**values: Any) -> Drafting:
    """Return the section with these values. Raises RecipeError naming the one that is invalid."""
    return checked(Drafting, **values)


def sizes(plan: Drafting, drafts: int) -> dict[str, int]:
    """Return how many pairs each part needs; to choose among drafts there have to be several."""
    return {HELD_OUT: plan.held_out, DEVELOPMENT: plan.development if drafts > 1 else 0, EXAMPLES: plan.examples}


def drafting_recipe(
    paths: Sequence[str], model: Any, judge: Any = None, *, method: str, against: str, drafts: int,
    settings: Sequence[str] = (),
) -> Recipe:  # fmt: skip
    """
    Return what a call uses as a recipe: `generate` holds the writer and the number of drafts, `judge` the judge and the
    rubric in use. `settings` override its values. Raises RecipeError.
    """
    generate = {"models": [model], "n": drafts, "max_tokens": WRITER_TOKENS}
    section = {"models": [judge or model], "method": method, "rubric": against}
    return make_recipe({"source": {"paths": list(paths)}, "generate": generate, "judge": section}, settings)


def sections(recipe: Recipe) -> tuple[Generate, JudgeSection]:
    """Return the sections of writer and judge. Raises RecipeError where there are several, or a judge has no rubric."""
    if recipe.generate is None or len(recipe.generate.models) != 1:
        raise RecipeError("one model writes the drafts: --model openai:NAME[@URL]")
    judges = judges_of(recipe.judge) if recipe.judge else []
    if recipe.judge is None or len(judges) != 1 or not isinstance(judges[0], LlmJudge) or judges[0].method not in PARTS:
        raise RecipeError("one model judges by the rubric, and has to be an LLM: --judge openai:NAME[@URL]")
    return recipe.generate, recipe.judge


@dataclass(frozen=True, slots=True)
class Trial:
    """One call: its pairs, who writes, and who judges. `clients` send requests, by the line of the model."""

    plan: Drafting
    generate: Generate
    section: JudgeSection
    parts: Mapping[str, pl.DataFrame]  # of the labelled pairs, by `sizes`

    @property
    def writer(self) -> Model:
        """The model that writes the drafts."""
        return self.generate.models[0]

    @property
    def requests(self) -> int:
        """How many requests are sent if every reply can be used and none is stored."""
        held_out, development = (len(self.judge().requests(self.candidates(part))) for part in (HELD_OUT, DEVELOPMENT))
        return self.generate.n * (1 + development) + 2 * held_out

    def judge(self, text: str | None = None) -> LlmJudge:
        """Return the judge by the rubric in use, or by a draft, which has the name of the file that it may become."""
        (judge,) = judges_of(self.section)
        assert isinstance(judge, LlmJudge)  # noqa: S101 - see `sections`
        if text is None:
            return judge
        judge = type(judge)(judge.model, self.section, [rubric_of(NAME, text)])
        judge.max_unusable = math.inf  # a draft that confuses the judge loses; it does not end the command
        return judge

    def candidates(self, part: str) -> pl.DataFrame:
        """CANDIDATES: both answers of every pair of a part."""
        return answers_of(self.parts[part])

    def labels(self, part: str) -> pl.DataFrame:
        """The labels of a part, as HUMAN."""
        return labels_of(self.parts[part])

    def writing(self) -> list[Request]:
        """The requests for drafts: each shows examples of its own, as far as there are enough."""
        pool, size, requests = self.parts[EXAMPLES].to_dicts(), self.plan.examples, list[Request]()
        rubrics: list[Rubric] = self.judge().rubrics
        method, structured = self.section.method, self.section.structured
        for place, variant in enumerate(variants(self.generate)):
            examples = [pool[(place * size + number) % len(pool)] for number in range(size)]
            messages = writing_messages(method, rubrics, examples, about=self.plan.about, chars=self.plan.chars)
            system = [{"role": "system", "content": variant.system}] if variant.system else []
            form = {"response_format": draft_schema(method)} if structured else {}
            requests.append(writing_request([*system, *messages], method, {**form, **variant.params}, variant.sample))
        return requests

    def drafts(self, clients: Mapping[str, SendRequests]) -> list[Draft]:
        """Have the drafts written; those that cannot be used have a problem."""
        replies = clients[self.writer.model](self.writing())
        return [read_draft(number, self.section.method, reply) for number, reply in enumerate(replies, start=1)]

    def verdicts(self, part: str, text: str | None, clients: Mapping[str, SendRequests]) -> pl.DataFrame:
        """VERDICTS on a part, by the rubric in use or by a draft. Raises ServiceError if too many requests failed."""
        found = self.judge(text).score(self.candidates(part), clients)
        failed = found.filter(pl.col("score").is_null(), pl.col("raw").is_null(), pl.col("error") != NOT_STORED)
        if len(failed) > self.section.max_failed * len(found):
            raise ServiceError(
                f"{len(failed)} of {len(found)} verdicts failed ({failed.item(0, 'error')}). More than "
                f"judge.max_failed={self.section.max_failed:g} is an error; the same command requests them again"
            )
        return found

    def on_development(self, drafts: Sequence[Draft], clients: Mapping[str, SendRequests]) -> dict[int, float | None]:
        """
        Return the agreement of every usable draft on the development pairs, by its number; empty for a single draft.
        Null in an estimate: replies are missing to tell.
        """
        found: dict[int, float | None] = {}
        for draft in drafts if len(drafts) > 1 else ():
            if draft.text is not None:
                verdicts = self.verdicts(DEVELOPMENT, draft.text, clients)
                scores = outcomes(self.candidates(DEVELOPMENT), verdicts, self.labels(DEVELOPMENT))
                is_known = not (verdicts.get_column("error") == NOT_STORED).any()
                found[draft.number] = float(scores.sum()) / len(scores) if is_known else None
        return found


def best_of(drafts: Sequence[Draft], agreement: Mapping[int, float | None], writer: Model) -> Draft:
    """Return the draft that agrees best, the first of equally good ones. Raises ServiceError if none can be used."""
    usable = [draft for draft in drafts if draft.text is not None]
    if not usable:
        last = drafts[-1]
        reply = f"; the last of {len(drafts)} replies was {quoted(last.reply)}" if last.reply else ""
        raise ServiceError(
            f"{writer.name} wrote no rubric that can be used{reply}: {last.problem}. The same command asks again; try "
            f"another --model, or fewer --examples"
        )
    return max(usable, key=lambda draft: agreement.get(draft.number) or 0.0)
