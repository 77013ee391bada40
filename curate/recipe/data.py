"""Recipe sections for processing pairs: source, rules, dedup, eval sets, selection, split, publishing, training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from curate import limits
from curate.dedup.finder import FinderSection
from curate.dedup.finders import FINDERS
from curate.errors import RecipeError
from curate.rules import Rule, Where, known_columns, make_conditions, make_rule, make_rules
from curate.schema.section import AS_IS, COUNT, NAME, Section, Texts
from curate.sources.formats import FORMATS

# `near: true` is the section with its defaults, `near: false` no section.
Switch = BeforeValidator(lambda value: {True: {}, False: None}[value] if isinstance(value, bool) else value)


class Source(Section):
    """The input: files, folders, globs, or Hub datasets."""

    paths: Annotated[Texts, NAME] = Field(
        (), description="Files, folders, globs, Hub ids (OWNER/NAME) or hf:// addresses"
    )
    format: Annotated[str | None, AS_IS] = Field(
        None, description=f"One of {', '.join(FORMATS)}; null = detect from the columns"
    )
    columns: Annotated[dict[str, str], AS_IS] = Field(
        {}, description="Other column names: {prompt: q, chosen: good, rejected: bad}"
    )
    winners: Annotated[dict[Literal["a", "b"], list[str | int]], AS_IS] = Field(
        {}, description="Values of the winner column that mean a and b: {a: [1], b: [2]}"
    )
    split: Annotated[str | None, AS_IS] = Field(None, description="Split of a Hub dataset or a save_to_disk folder")
    config: Annotated[str | None, AS_IS] = Field(None, description="Configuration of a Hub dataset")
    revision: Annotated[str | None, AS_IS] = Field(None, description="Revision of a Hub dataset: branch, tag or commit")
    limit: int | None = Field(None, ge=1, le=10**12, description="Read at most this many rows; null = all")
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="Share of unreadable rows above which the run stops")
    max_row_bytes: int = Field(
        limits.ROW_BYTES, ge=1024, le=1 << 34, description="Size of a row, decoded, above which the run stops"
    )
    max_unpacked_bytes: int | None = Field(
        None, ge=1024, le=1 << 50,
        description="Bytes of a file, unpacked, above which the run stops; null = 100 GB and 200 times its size",
    )  # fmt: skip

    @field_validator("paths")
    @classmethod
    def _not_blank(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(path.strip() for path in value):
            raise ValueError("name at least one source")
        return value


class Rules(BaseModel):
    """
    Bounds on signals: no_SIGNAL, min_SIGNAL, max_SIGNAL, only_SIGNAL, and conditions. The default rules apply unless
    changed.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    defaults: bool = Field(True, description="Start from the default rules (`curate signals --rules` lists them)")
    where: Annotated[
        tuple[str | dict[Literal["condition", "name", "reason", "on_null"], str], ...],
        BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value),
        AS_IS,
    ] = Field((), description="Conditions in SQL that kept pairs meet: chosen_model <> 'x' AND extra.topic = 'code'")

    def check(self, own: Sequence[str]) -> None:
        """Raise PydanticCustomError, with the rule's name, by which its line is found; see `build`."""
        columns = known_columns(own)
        for name, value in [("where", self.where), *(self.model_extra or {}).items()]:
            try:
                make_conditions(value, own) if name == "where" else make_rule(name, value, columns)
            except RecipeError as error:
                raise PydanticCustomError("rule", "{text}", {"text": str(error), "rule": name}) from error

    def build(self, own: Sequence[str]) -> list[Rule | Where]:
        """Return the rules, in the order in which reasons are reported; `own` are columns of the user's signals."""
        bounds = make_rules(self.model_extra or {}, defaults=self.defaults, columns=known_columns(own))
        return [*bounds, *make_conditions(self.where, own)]


class _Dedup(Section):
    exact: bool = Field(
        True, description="Drop pairs with the same prompt and responses as another pair, white space aside"
    )
    contradictions: Literal["drop", "vote", "keep"] = Field(
        "drop",
        description="Pairs with opposite preferences: drop all, keep the majority (none if tied), or keep all",
    )
    keep: Annotated[str, AS_IS] = Field(
        "first",
        description="Which duplicate is kept: first, longest, highest chosen_score or highest signal (margin, …)",
    )
    max_pairs_per_prompt: int | None = Field(
        None, ge=1, le=COUNT, description="Keep at most this many pairs per prompt; null = all"
    )
    responses: float | None = Field(
        None, gt=0, le=1,
        description="Jaccard similarity from which responses to one prompt (or prompt cluster) count as duplicates",
    )  # fmt: skip
    against: Annotated[Texts, NAME] = Field(
        (), description="Other datasets: also drop rows that near or semantic finds in them"
    )

    @property
    def finders(self) -> dict[str, FinderSection]:
        """The sections of the enabled finders, by name."""
        sections = {name: getattr(self, name) for name in FINDERS}
        return {name: section for name, section in sections.items() if section}

    @model_validator(mode="after")
    def _fits(self) -> "_Dedup":
        if self.against and not self.finders:
            raise ValueError("against: choose how to compare: near: true, or semantic: true")
        return self


if TYPE_CHECKING:
    from curate.dedup.near_finder import Near
    from curate.dedup.semantic_finder import Semantic

    class Dedup(_Dedup):
        """What counts as a duplicate, and which pair is kept."""

        near: Near | None = None
        semantic: Semantic | None = None

else:  # one key per finder, so that a new finder only needs a line in FINDERS
    _KEYS = {
        name: (Annotated[finder.section | None, Switch], Field(None, description="true = with the defaults"))
        for name, finder in FINDERS.items()
    }
    _ABOUT = "What counts as a duplicate, and which pair is kept."
    Dedup = create_model("Dedup", __base__=_Dedup, __doc__=_ABOUT, **_KEYS)


class EvalSet(Section):
    """An evaluation set, which must not be trained on."""

    path: Annotated[str, NAME] = Field(
        description="A name (`curate evals` lists them), a file or folder, a Hub id, or a saved index"
    )
    columns: Annotated[Texts, AS_IS] = Field((), description="Columns with the text of an item; empty = its prompt")
    id: Annotated[str | None, AS_IS] = Field(None, description="Column with the item's id; null = row number")
    split: Annotated[str | None, AS_IS] = None
    config: Annotated[str | None, AS_IS] = None
    revision: Annotated[str | None, AS_IS] = None
    name: Annotated[str | None, AS_IS] = Field(None, description="Name in tables; null = from the path")


# A line in place of an eval set is its path.
AnyEvalSet = Annotated[
    EvalSet,
    BeforeValidator(
        lambda value: {"path": value} if isinstance(value, str) else value, json_schema_input_type=str | EvalSet
    ),
]


class Decontaminate(Section):
    """Drop contaminated pairs: those that contain items of eval sets."""

    against: Annotated[
        tuple[AnyEvalSet, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, (str, dict)) else value),
    ] = Field(min_length=1, description="Names (`curate evals` lists them), files, Hub ids, or saved indexes")
    method: Literal["ngram", "exact", "embedding"] = Field(
        "ngram",
        description="Share of an item's words in common n-grams (Tülu 3), all of its words, or embedding similarity",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share or cosine above which a pair is contaminated; null = 0.5, for embedding 0.9",
    )
    ngram: int = Field(8, ge=1, le=100, description="Words per n-gram")
    fields: Annotated[Texts, AS_IS] = Field(
        ("prompt", "chosen", "rejected"), min_length=1, description="Fields that are searched for items"
    )
    model: Annotated[str | None, NAME] = Field(
        None, description="For embedding: a sentence-transformers model; null = MiniLM"
    )


class Split(Section):
    """How pairs are split. Equal prompts, and prompts of one cluster, are never in different splits."""

    test: float = Field(0.1, ge=0, lt=1, description="Share of the pairs in the test split")
    validation: float = Field(0, ge=0, lt=1, description="Share of the pairs in the validation split")
    clusters: Literal["exact", "near", "semantic"] = Field(
        "near",
        description="Prompts kept in one split: equal ones, near-duplicates too, or also those similar in meaning",
    )
    stratify: Literal["source", "language", "cluster"] | None = Field(
        None, description="Use the same shares for every source, prompt language, or prompt cluster"
    )
    salt: Annotated[str, AS_IS] = Field("prefcurate", description="A different salt gives a different split")

    @model_validator(mode="after")
    def _leaves_some(self) -> "Split":
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together leave no pairs to train on")
        return self


class Publish(Section):
    """Content of the dataset card, and requirements checked before publishing."""

    name: Annotated[str | None, AS_IS] = Field(None, description="Title of the dataset; null = from the source")
    about: Annotated[str | None, AS_IS] = Field(None, description="A paragraph for the card")
    license: Annotated[str | None, AS_IS] = Field(
        None, description="Licence identifier of the Hub (apache-2.0, mit, cc-by-4.0, …)"
    )
    source_license: Annotated[str | dict[str, str] | None, NAME] = Field(
        None, description="Licence of the sources, or one per source; null = from the Hub, for Hub datasets"
    )
    language: Annotated[list[str] | None, AS_IS] = Field(None, description="ISO codes; null = measured")
    min_kept: float = Field(0.1, ge=0, le=1, description="Minimum share of the rows that must be kept")
    min_train: int = Field(100, ge=0, le=COUNT, description="Minimum number of pairs in the train split")
    min_test: int = Field(
        20, ge=0, le=COUNT, description="Minimum number of pairs in the test split, if the recipe asks for one"
    )
    max_personal: float = Field(0.02, ge=0, le=1, description="Maximum share of pairs that contain an e-mail address")
