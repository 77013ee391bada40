"""Sections for what is done with pairs: read, rules, duplicates, eval items, selection, splits, publishing."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from curate.dedup.finder import FinderSection
from curate.dedup.finders import FINDERS
from curate.errors import RecipeError
from curate.rules import Rule, make_rule, make_rules
from curate.schema.section import Section, Texts
from curate.sources.formats import FORMATS

# `near: true` is the section with its defaults, `near: false` is none.
Switch = BeforeValidator(lambda value: {True: {}, False: None}[value] if isinstance(value, bool) else value)


def _by_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


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

    def build(self) -> list[Rule]:
        """Return the rules themselves, in the order in which reasons are given."""
        return make_rules(self.model_extra or {}, defaults=self.defaults)


class _Dedup(Section):
    exact: bool = Field(True, description="Drop pairs whose prompt and responses are the same")
    contradictions: Literal["drop", "vote", "keep"] = Field(
        "drop",
        description="Pairs that prefer opposite sides: drop all, keep the majority (none if even), or keep all",
    )
    keep: str = Field(
        "first",
        description="Which of several is kept: first, longest, chosen_score, or the highest of a signal (margin, …)",
    )
    max_pairs_per_prompt: int | None = Field(None, ge=1, description="Keep this many pairs per prompt; null = all")
    responses: float | None = Field(
        None, gt=0, le=1,
        description="Jaccard similarity from which two responses to one prompt (or one cluster) count as the same one",
    )  # fmt: skip
    against: Texts = Field((), description="Other sets: drop what near or semantic finds in them, too")

    @property
    def finders(self) -> dict[str, FinderSection]:
        """The sections of the finders that the recipe asks for, by name."""
        asked = {name: getattr(self, name) for name in FINDERS}
        return {name: section for name, section in asked.items() if section}

    @model_validator(mode="after")
    def _fits(self) -> "_Dedup":
        if self.against and not self.finders:
            raise ValueError("against: say how it is compared: near: true, or semantic: true")
        return self


if TYPE_CHECKING:
    from curate.dedup.near_finder import Near
    from curate.dedup.semantic_finder import Semantic

    class Dedup(_Dedup):
        """What counts as a duplicate, and which one is kept."""

        near: Near | None = None
        semantic: Semantic | None = None

else:  # a key per finder, so that a new one is a line in FINDERS alone
    _KEYS = {
        name: (Annotated[finder.section | None, Switch], Field(None, description="true = with these defaults"))
        for name, finder in FINDERS.items()
    }
    _ABOUT = "What counts as a duplicate, and which one is kept."
    Dedup = create_model("Dedup", __base__=_Dedup, __doc__=_ABOUT, **_KEYS)


class EvalSet(Section):
    """A set that must not be trained on."""

    path: str = Field(description="A name (`curate evals` lists them), a file or folder, a Hub id, or a saved index")
    columns: Texts = Field((), description="Columns with the text of an item; empty = its prompt")
    id: str | None = Field(None, description="Column that names an item; null = its row's number")
    split: str | None = None
    config: str | None = None
    revision: str | None = None
    name: str | None = Field(None, description="What it is called in tables; null = by its path")


class Decontaminate(Section):
    """Drop pairs that hold items of eval sets."""

    against: Annotated[
        tuple[Annotated[EvalSet, BeforeValidator(_by_path, json_schema_input_type=str | EvalSet)], ...],
        BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value),
    ] = Field(min_length=1, description="Names (`curate evals` lists them), files, Hub ids, or saved indexes")
    method: Literal["ngram", "exact", "embedding"] = Field(
        "ngram", description="Share of an item's words in shared n-grams (Tülu 3), all of its words, or its meaning"
    )
    threshold: float | None = Field(
        None, ge=0, lt=1, description="Share or cosine above which an item is hit; null = 0.5, for embedding 0.9"
    )
    ngram: int = Field(8, ge=1, description="Words of an n-gram")
    fields: Texts = Field(("prompt", "chosen", "rejected"), min_length=1, description="Where items are looked for")
    model: str | None = Field(None, description="For embedding: a sentence-transformers model; null = MiniLM")


class Select(Section):
    """Choose some of the pairs: varied ones, good ones, or both (extra: embed, but for best and random)."""

    n: int | None = Field(None, ge=1, description="How many pairs stay; null = all that the clusters allow")
    method: Literal["mmr", "farthest", "best", "random"] = Field(
        "mmr", description="Good and unlike those chosen; far from those chosen; the best; by hash"
    )
    by: str = Field("margin", description="What is better: chosen_score, longest, or a signal")
    relevance: float = Field(0.5, ge=0, le=1, description="For mmr: weight of `by`; the rest is for being different")
    max_per_cluster: int | None = Field(None, ge=1, description="Pairs of a prompt cluster, at most; null = all")
    clusters: int | None = Field(None, ge=1, description="Prompt clusters; null = by the number of prompts, 50 at most")
    model: str | None = Field(None, description="A sentence-transformers model; null = MiniLM")
    seed: int = 0


class Split(Section):
    """How pairs are divided. A prompt is never on two sides, nor are prompts of one cluster."""

    test: float = Field(0.1, ge=0, lt=1, description="Share of the pairs in the test split")
    validation: float = Field(0, ge=0, lt=1, description="Share of the pairs in the validation split")
    clusters: Literal["exact", "near", "semantic"] = Field(
        "near",
        description="What stays on one side: equal prompts, near-duplicate prompts, or those of one meaning, too",
    )
    stratify: Literal["source", "language", "cluster"] | None = Field(
        None, description="The same shares of every source, language of the prompt, or prompt cluster"
    )
    salt: str = Field("prefcurate", description="Another salt gives another division")

    @model_validator(mode="after")
    def _leaves_some(self) -> "Split":
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together leave nothing to train on")
        return self


class Publish(Section):
    """What the dataset card says, and what a dataset must be like before it is published."""

    name: str | None = Field(None, description="Title of the dataset; null = from the source")
    about: str | None = Field(None, description="A paragraph of your own for the card")
    license: str | None = Field(None, description="Licence as the Hub names it (apache-2.0, mit, cc-by-4.0, …)")
    source_license: str | dict[str, str] | None = Field(
        None, description="Licence of what was read, or one a source; null = as the Hub says of Hub datasets"
    )
    language: list[str] | None = Field(None, description="ISO codes; null = measured")
    min_kept: float = Field(0.1, ge=0, le=1, description="Less than this share of the rows kept is a failed gate")
    min_train: int = Field(100, ge=0, description="Pairs the train split must have")
    min_test: int = Field(20, ge=0, description="Pairs the test split must have, where the recipe asks for one")
    max_personal: float = Field(0.02, ge=0, le=1, description="Share of pairs that may hold an e-mail address")


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
    samples: int = Field(8, ge=0, description="Held-out prompts answered at each look: do answers become longer?")
    early_stop: bool = Field(True, description="Stop when held-out accuracy falls, or chosen log-probs collapse")
    seed: int = 0
    trl: dict[str, Any] = Field({}, description="Any option of TRL's trainer: {beta: 0.05, learning_rate: 1.0e-5}")
