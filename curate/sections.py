"""The recipe's sections, in the order in which data flows, each with its defaults and what they mean."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from curate.errors import RecipeError
from curate.rules import Rule, make_rule, make_rules
from curate.sources.formats import FORMATS

Strategy = Literal["max_min", "max_random_lower", "sweet_spot", "all", "best_of_on_policy", "delta"]


class Section(BaseModel):
    """A part of the recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]


class Source(Section):
    """What is read: files, folders, globs, or Hub datasets."""

    paths: Texts = Field((), description="Files, folders, globs, Hub ids (OWNER/NAME) or hf:// addresses")
    format: str | None = Field(None, description=f"One of {', '.join(FORMATS)}; null = detect from the columns")
    columns: dict[str, str] = Field({}, description="Any other shape: {prompt: q, chosen: good, rejected: bad}")
    winners: dict[Literal["a", "b"], list[str | int]] = Field(
        {}, description="What the winner column says for a and for b: {a: [1], b: [2]}"
    )
    split: str | None = Field(None, description="Split of a Hub dataset or a save_to_disk folder")
    config: str | None = Field(None, description="Configuration of a Hub dataset")
    revision: str | None = Field(None, description="Revision of a Hub dataset: branch, tag or commit")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most; null = all")
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="Share of unreadable rows above which the run stops")

    @field_validator("paths")
    @classmethod
    def _not_blank(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(path.strip() for path in value):
            raise ValueError("name at least one source")
        return value


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
    method: Literal["rubric", "pairwise"] = Field("rubric", description="Rate each answer alone, or compare two")
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
    prices: str | None = Field(None, description="Your own price table, a YAML file like pipelines/prices.yaml")


class Rules(BaseModel):
    """Bounds on signals: no_SIGNAL, min_SIGNAL, max_SIGNAL, only_SIGNAL. The defaults hold unless changed here."""

    model_config = ConfigDict(extra="allow", frozen=True)
    defaults: bool = Field(True, description="Start from the default rules (`curate signals --rules` lists them)")

    @model_validator(mode="after")
    def _known(self) -> "Rules":
        for name, value in (self.model_extra or {}).items():
            try:
                make_rule(name, value)
            except RecipeError as error:  # handed on with the rule's name, from which its line is found
                raise PydanticCustomError("rule", "{text}", {"text": str(error), "rule": name}) from error
        return self

    def made(self) -> list[Rule]:
        """The rules themselves, in the order in which reasons are given."""
        return make_rules(self.model_extra or {}, defaults=self.defaults)


class Dedup(Section):
    """What counts as a duplicate, and who survives."""

    exact: bool = Field(True, description="Drop pairs whose prompt and responses are the same")
    contradictions: bool = Field(True, description="Drop both of two pairs that prefer opposite sides")
    keep: str = Field("first", description="Which of several stays: first, or the highest of a signal (margin, …)")
    max_pairs_per_prompt: int | None = Field(None, ge=1, description="Keep this many pairs of a prompt; null = all")


class Split(Section):
    """How pairs are divided, by a hash of their prompt."""

    test: float = Field(0.1, ge=0, lt=1, description="Share of the prompts in the test split")
    salt: str = Field("prefcurate", description="Another salt gives another division")


class Publish(Section):
    """What the dataset card says."""

    name: str | None = Field(None, description="Title of the dataset; null = from the source")
    license: str | None = Field(None, description="Licence as the Hub names it (apache-2.0, mit, cc-by-4.0, …)")
    language: list[str] | None = Field(None, description="ISO codes; null = measured")


class Train(Section):
    """How a model is trained on the pairs. What TRL knows beyond this stands in `trl`, by TRL's own names."""

    model: str | None = Field(None, description="Folder or Hub id of the model to start from; --model names it, too")
    method: Literal["dpo", "orpo", "reward", "sft"] = Field("dpo", description="Which trainer of TRL")
    sft_first: bool = Field(False, description="Train on the chosen answers first: for a base model that cannot chat")
    chat_template: str | None = Field(None, description="zephyr, or a .jinja file; null = the model's own")
    lora: bool = Field(True, description="Train a small adapter (LoRA); false = all weights")
    lora_rank: int = Field(16, ge=1)
    max_length: int | None = Field(None, ge=2, description="Tokens of prompt and answer; null = from the preflight")
    keep: float = Field(0.99, gt=0, le=1, description="Share of the rows that the preflight's max_length keeps whole")
    batch: int = Field(16, ge=1, description="Pairs an optimizer step; what fits at once is found out")
    evaluations: int = Field(
        8, ge=1, description="How often the held-out pairs are looked at, and a checkpoint is saved"
    )
    early_stop: bool = Field(True, description="Stop when held-out accuracy falls, or chosen log-probs collapse")
    seed: int = 0
    trl: dict[str, Any] = Field({}, description="Any option of TRL's trainer: {beta: 0.05, learning_rate: 1.0e-5}")
