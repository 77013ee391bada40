"""Recipe sections for generated pairs: prompts, answers, judges, and how two answers become a pair."""

import re
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from curate import limits
from curate.recipe.address import normalized, split
from curate.schema.section import AS_IS, COUNT, MODEL, NAME, NEVER, TOKENS, WEEK, Holds, Section, Seed, Texts

RUBRICS = ("overall", "helpfulness", "honesty", "instruction_following", "truthfulness", "pairwise")  # that ship
Strategy = Literal["max_min", "max_random_lower", "sweet_spot", "all", "best_of_on_policy", "delta"]
Temperature = Annotated[float, Field(ge=0, le=10)]
ENDPOINTS = ("openai:", "inference:")  # kinds of models that take requests at an address
SCORE = 1e9  # bound of a score on any scale


class Model(Section):
    """A model, as one line (`openai:MODEL`, `openai:MODEL@http://host/v1`, `embedded`, …) or with settings."""

    model: Annotated[str, MODEL] = Field(
        description="openai:, inference:, transformers:, gguf: or reward: and a name; embedded; heuristic"
    )
    base_url: Annotated[str | None, Holds("address")] = Field(
        None, description="URL of an OpenAI-compatible endpoint, including /v1"
    )
    api_key_env: Annotated[str | None, NEVER] = Field(
        None, description="Environment variable with the API key; null = the usual one"
    )
    temperature: float | None = Field(None, ge=0, le=10, description="null = the section's value")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=TOKENS, description="null = the section's value")
    system: Annotated[str | None, AS_IS] = Field(None, description="System prompt of this model's answers")
    on_policy: bool = Field(False, description="Whether this is the model to be trained")
    extra: Annotated[dict[str, Any], Holds("request")] = Field(
        {}, description="Additional request fields: {reasoning_effort: low}"
    )
    reasoning_as_answer: bool = Field(
        False, description="Count the reasoning of a reply as its text where it has no other"
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Maximum number of concurrent requests; null = as many as the endpoint takes, found by trying",
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=WEEK,
        description="Timeout of a request in seconds; null = 180, and 3600 for local models (gguf:, embedded)",
    )
    retries: int = Field(6, ge=0, le=1000, description="How often a failed request is retried")
    patience: float = Field(
        300, ge=0, le=WEEK, description="Seconds without any response after which the endpoint counts as dead"
    )
    max_reply_bytes: int = Field(
        limits.REPLY_BYTES,
        ge=1024,
        le=1 << 32,
        description="Bytes of a reply, unpacked, beyond which it counts as failed",
    )
    input_price: float | None = Field(
        None, ge=0, le=1e6, description="USD per million tokens; null = from the price table"
    )
    output_price: float | None = Field(
        None, ge=0, le=1e6, description="USD per million tokens; null = from the price table"
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Read the address behind the name, in a line and in a mapping alike."""
        if not isinstance(given, dict) or not isinstance(line := given.get("model"), str):
            return given
        if not line.startswith(ENDPOINTS):
            return given
        name, address = split(line)
        if address is None:
            return given
        if given.get("base_url") not in (None, address):
            raise ValueError(f"two addresses: {address} behind the name, and base_url")
        return given | {"model": name, "base_url": address}

    @field_validator("base_url")
    @classmethod
    def _readable(cls, address: str | None) -> str | None:
        return None if address is None else normalized(address)

    @property
    def name(self) -> str:
        """The model's name in tables and cards; see `public_name`."""
        return public_name(self.model)


def public_name(line: str) -> str:
    """Return a model's line without what only its user knows: its address, and the folders of a local file."""
    kind, colon, where = line.partition(":")
    where = split(where)[0] if line.startswith(ENDPOINTS) else where
    is_file = kind == "gguf" or re.match(r"[/.~\\]|[A-Za-z]:[/\\]|file:", where)
    if is_file or (kind not in ("openai", "inference") and (where.count("/") > 1 or Path(where).exists())):
        where = PurePath(where.replace("\\", "/")).name
    return f"{kind}{colon}{where}"


def named(value: Any) -> Any:
    """Return a line like `openai:MODEL@http://host/v1` as fields; anything but a string unchanged."""
    return {"model": value} if isinstance(value, str) else value


def named_model(line: str) -> Model:
    """Return the model for a line."""
    return Model.model_validate(named(line))


AnyModel = Annotated[Model, BeforeValidator(named, json_schema_input_type=str | Model)]
Models = Annotated[
    tuple[AnyModel, ...], BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value)
]


class Prompts(Section):
    """New prompts for a domain, generated by a model; without this section the prompts of the source are used."""

    method: Literal["self_instruct", "evolve", "documents", "magpie"] = Field(
        "self_instruct",
        description="From a description and seeds; harder variants of seeds; from documents; from the chat template",
    )
    model: AnyModel = Field(description="The model that writes the prompts")
    n: int = Field(
        100,
        ge=1,
        le=COUNT,
        description="Maximum number of prompts; those that repeat a seed or another prompt are dropped",
    )
    description: Annotated[str | None, AS_IS] = Field(None, description="The domain, in a sentence or two")
    topics: Annotated[Texts, AS_IS] = Field((), description="Topics to cover; empty = the model proposes some")
    difficulties: Annotated[Texts, AS_IS] = Field(("easy", "medium", "hard"), description="Difficulty levels to cover")
    documents: Annotated[Texts, NAME] = Field(
        (), description="For method documents: text files (or folders, globs) to ask about"
    )
    with_seeds: bool = Field(True, description="Also keep the prompts of the source")
    max_similarity: float = Field(
        0.7, gt=0, le=1, description="Share of common 3-grams above which a prompt repeats another"
    )
    max_tokens: int = Field(512, ge=1, le=TOKENS)
    temperature: float = Field(1.0, ge=0, le=10)
    seed: Seed = 0


# `auto`, or a model in either of its forms.
Trained = Annotated[
    Model | Literal["auto"] | None,
    BeforeValidator(
        lambda value: value if value == "auto" else named(value),
        json_schema_input_type=Literal["auto"] | str | Model | None,
    ),
]


class Generate(Section):
    """Answers to every prompt: `n` per model, cycling through temperatures and system prompts."""

    models: Models = Field(min_length=1, description="Models that answer")
    n: int = Field(2, ge=1, le=10_000, description="Answers per model and prompt")
    temperatures: tuple[Temperature, ...] = Field((0.8,), min_length=1, description="The n answers cycle through these")
    systems: Annotated[Texts, AS_IS] = Field(
        (), description="System prompts to cycle through; empty = only the prompt's own"
    )
    max_tokens: int = Field(1024, ge=1, le=TOKENS)
    retry_cut: float = Field(
        2.0, ge=1, le=1000,
        description="Ask once more, with this many times max_tokens, for an answer that was cut off; 1 = never",
    )  # fmt: skip
    seed: Seed | None = Field(0, description="Answer i is requested with seed + i; null = no seed is sent")
    max_failed: float = Field(0.05, ge=0, le=1, description="Share of failed answers above which the run stops")
    on_policy: Trained = Field(
        None,
        description="Measure how likely each answer is under the model to be trained: a model, or auto = the one with "
        "on_policy: true, else train.model",
    )

    def is_on_policy(self, model: Model) -> bool:
        """Whether one of the models that answer is the model to be trained."""
        return model.on_policy or (isinstance(self.on_policy, Model) and self.on_policy.model == model.model)


class Judge(Section):
    """Scores for the answers."""

    models: Models = Field(min_length=1, description="One judge, or a panel; also reward:MODEL and heuristic")
    method: Annotated[str, AS_IS] = Field(
        "rubric", description="rubric: rate each answer by itself; pairwise: compare two"
    )
    rubric: Annotated[str, Holds("file", RUBRICS)] = Field(
        "overall", description="Name of a rubric that ships with prefcurate, or a text file"
    )
    aspects: Annotated[Texts, Holds("file", RUBRICS)] = Field(
        (), description="Rate these aspects instead: helpfulness, honesty, …; the score is their mean"
    )
    scale: Literal[5, 10] = Field(5, description="Maximum rating; the minimum is 1")
    max_tokens: int = Field(512, ge=1, le=TOKENS)
    seed: Seed | None = 0
    structured: bool = Field(True, description="Ask the endpoint to enforce the reply format (json_schema)")
    max_failed: float = Field(0.05, ge=0, le=1, description="Share of failed requests above which the run stops")
    style_check: int = Field(
        0, ge=0, le=COUNT,
        description="Prompts whose answers are judged once more without their markdown, to report what style does",
    )  # fmt: skip


class Pair(Section):
    """Which two answers become a pair. Ties and answers without a verdict never do."""

    strategy: Strategy = Field("max_min", description="How chosen and rejected are picked")
    min_margin: float = Field(
        0, ge=0, le=SCORE, description="Minimum lead of the chosen score; it must always be more than 0"
    )
    min_chosen_score: float | None = Field(
        None, ge=-SCORE, le=SCORE, description="Answers with a lower score are never chosen"
    )
    near: float = Field(
        0, ge=0, le=SCORE, description="Answers within this distance of the picked answer's score count as equal …"
    )
    length_matched: bool = Field(False, description="… and among equal ones the two closest in length are picked")
    order: Annotated[Texts, MODEL] = Field((), description="For delta: models from strongest to weakest")
    max_pairs: int | None = Field(
        None, ge=1, le=COUNT, description="Maximum number of pairs per prompt; null = all that the strategy yields"
    )
    salt: Annotated[str, AS_IS] = Field("prefcurate", description="A different salt gives different random picks")
    min_logp_per_token: float | None = Field(
        None, ge=-100, le=0,
        description="Answers whose log-likelihood per token under the model to be trained is lower are in no pair",
    )  # fmt: skip
    cut_off: Literal["drop", "rejected"] = Field(
        "drop", description="Answers that were cut off are in no pair, or may be rejected; they are never chosen"
    )


class Budget(Section):
    """Limits for requests. Answers so far are kept, and the same command continues with a higher budget."""

    tokens: int | None = Field(None, ge=1, le=10**15, description="Maximum number of input and output tokens")
    usd: float | None = Field(None, gt=0, le=1e9, description="Maximum cost in US dollars, by the price table")
    prices: Annotated[str | None, Holds("file")] = Field(
        None, description="Your own price table, a YAML file like pipelines/clients/prices.yaml"
    )
