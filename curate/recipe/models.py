"""Sections for pairs that are made: who writes prompts, who answers, who judges, how two answers become a pair."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from curate.schema.section import Section, Texts

Strategy = Literal["max_min", "max_random_lower", "sweet_spot", "all", "best_of_on_policy", "delta"]


class Model(Section):
    """A model, by one line (`openai:MODEL`, `openai:MODEL@http://host/v1`, `embedded`, …) or with its settings."""

    model: str = Field(description="openai:, inference:, transformers:, gguf:, reward: and a name; embedded; heuristic")
    base_url: str | None = Field(None, description="Address of an OpenAI-compatible endpoint, with its /v1")
    api_key_env: str | None = Field(None, description="Environment variable that holds the key; null = the usual one")
    temperature: float | None = Field(None, ge=0, description="null = what the section says")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, description="null = what the section says")
    system: str | None = Field(None, description="System prompt of this model's answers")
    on_policy: bool = Field(False, description="This is the model that is to be trained")
    extra: dict[str, Any] = Field({}, description="Further fields of the request: {reasoning_effort: low}")
    concurrency: int = Field(32, ge=1, description="Requests at once, at most; fewer while the endpoint says 429")
    timeout: float | None = Field(
        None, gt=0, description="Seconds a request may take; null = 180, and 3600 on this machine (gguf:, embedded)"
    )
    retries: int = Field(6, ge=0, description="How often a request is asked again after a failure")
    patience: float = Field(300, ge=0, description="Seconds without any answer after which the endpoint counts as dead")
    input_price: float | None = Field(None, ge=0, description="USD a million tokens; null = from the price table")
    output_price: float | None = Field(None, ge=0, description="USD a million tokens; null = from the price table")

    @property
    def name(self) -> str:
        """The line as it is published, in tables and cards: of a file or folder of this machine its last part."""
        kind, _, where = self.model.partition(":")
        is_path = kind == "gguf" or where.startswith(("/", ".", "~"))
        return f"{kind}:{PurePath(where).name}" if is_path else self.model


def named(value: Any) -> Any:
    """`openai:MODEL@http://host/v1` as fields; anything else as it is."""
    if not isinstance(value, str):
        return value
    name, at, address = value.partition("@http")
    return {"model": name, "base_url": f"http{address}"} if at else {"model": value}


def named_model(line: str) -> Model:
    """The model of a line."""
    return Model.model_validate(named(line))


AnyModel = Annotated[Model, BeforeValidator(named, json_schema_input_type=str | Model)]
Models = Annotated[
    tuple[AnyModel, ...], BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value)
]


class Prompts(Section):
    """New prompts for a domain, made by a model; without this section those of the source are used as they are."""

    method: Literal["self_instruct", "evolve", "documents", "magpie"] = Field(
        "self_instruct",
        description="From a description and seeds; harder seeds; from documents; from the bare template",
    )
    model: AnyModel = Field(description="The model that writes them")
    n: int = Field(100, ge=1, description="How many, at most: what repeats a seed or another prompt is left out")
    description: str | None = Field(None, description="The domain, in a sentence or two")
    topics: Texts = Field((), description="Topics to spread over; empty = the model names some")
    difficulties: Texts = Field(("easy", "medium", "hard"), description="Degrees of difficulty to spread over")
    documents: Texts = Field((), description="Text files (or folders, globs) to ask about; for method documents")
    with_seeds: bool = Field(True, description="Keep the prompts of the source beside the new ones")
    max_similarity: float = Field(0.7, gt=0, le=1, description="Share of 3-grams in common above which one repeats")
    max_tokens: int = Field(512, ge=1)
    temperature: float = Field(1.0, ge=0)
    seed: int = 0


class Generate(Section):
    """Answers to every prompt: `n` from each model, spread over temperatures and system prompts."""

    models: Models = Field(min_length=1, description="Who answers")
    n: int = Field(2, ge=1, description="Answers of each model to each prompt")
    temperatures: tuple[float, ...] = Field((0.8,), min_length=1, description="Taken in turn by the n answers")
    systems: Texts = Field((), description="System prompts, taken in turn; empty = none but the prompt's own")
    max_tokens: int = Field(1024, ge=1)
    seed: int | None = Field(0, description="Answer i is asked with seed + i; null = no seed is sent")
    max_failed: float = Field(0.05, ge=0, le=1, description="Share of failed answers above which the run stops")


class Judge(Section):
    """Scores for the answers."""

    models: Models = Field(min_length=1, description="One judge, or a panel; also reward:MODEL and heuristic")
    method: str = Field("rubric", description="Rate each answer alone, or compare two")
    rubric: str = Field("overall", description="Name of a rubric that ships with prefcurate, or a text file")
    aspects: Texts = Field((), description="Rate each of these instead: helpfulness, honesty, …; the score is the mean")
    scale: Literal[5, 10] = Field(5, description="Ratings go from 1 to this")
    max_tokens: int = Field(512, ge=1)
    seed: int | None = 0
    structured: bool = Field(True, description="Ask the endpoint to enforce the form of the reply (json_schema)")
    max_failed: float = Field(0.05, ge=0, le=1, description="Share of unanswered requests above which the run stops")


class Pair(Section):
    """Which two answers become a pair. Ties and answers that were not judged never do."""

    strategy: Strategy = Field("max_min", description="How chosen and rejected are picked")
    min_margin: float = Field(0, ge=0, description="Chosen must lead by more than 0, and by this at least")
    min_chosen_score: float | None = Field(None, description="Answers below it are never chosen")
    near: float = Field(0, ge=0, description="Answers within this of the picked one's score count as its equals …")
    length_matched: bool = Field(False, description="… and among equals the two closest in length are taken")
    order: Texts = Field((), description="For delta: models from the strongest to the weakest")
    max_pairs: int | None = Field(None, ge=1, description="Pairs of a prompt, at most; null = all the strategy makes")
    salt: str = Field("prefcurate", description="Another salt gives other random picks")


class Budget(Section):
    """Where to stop asking. What is done is kept, and the same command goes on with a higher budget."""

    tokens: int | None = Field(None, ge=1, description="Input and output tokens together")
    usd: float | None = Field(None, gt=0, description="US dollars, by the price table")
    prices: str | None = Field(None, description="Your own price table, a YAML file like pipelines/clients/prices.yaml")
