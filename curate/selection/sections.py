"""The recipe's select section: steps that are taken in order, then a budget."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from curate.errors import nearest
from curate.schema.section import AS_IS, COUNT, NAME, Section, Seed
from curate.selection.step_sections import (
    BY,
    Bees,
    Cap,
    ChosenFirst,
    Farthest,
    ImplicitGap,
    LengthBalanced,
    Like,
    Mmr,
    Number,
    Random,
    Rip,
    Selective,
    Top,
    Topics,
    Unlike,
)

STEPS: dict[str, type[Section]] = {
    "like": Like, "unlike": Unlike, "topics": Topics, "rip": Rip, "bees": Bees, "selective": Selective,
    "implicit_gap": ImplicitGap, "chosen_first": ChosenFirst, "top": Top, "random": Random,
    "length_balanced": LengthBalanced, "cap": Cap, "mmr": Mmr, "farthest": Farthest,
}  # fmt: skip


class Step(Section):
    """One step of a selection: exactly one of these."""

    like: Like | None = None
    unlike: Unlike | None = None
    topics: Topics | None = None
    rip: Rip | None = None
    bees: Bees | None = None
    selective: Selective | None = None
    implicit_gap: ImplicitGap | None = None
    chosen_first: ChosenFirst | None = None
    top: Top | None = None
    random: Random | None = None
    length_balanced: LengthBalanced | None = None
    cap: Cap | None = None
    mmr: Mmr | None = None
    farthest: Farthest | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        value = {value: {}} if isinstance(value, str) else value
        if isinstance(value, dict):
            if len(value) != 1:
                raise PydanticCustomError("step", "expected one step per entry, as in rip: {}")
            name, settings = next(iter(value.items()))
            if name not in STEPS:
                raise _unknown("step", str(name), list(STEPS))
            return {name: {} if settings is None or settings is True else settings}
        return value

    @model_serializer
    def _only_it(self) -> dict[str, Any]:
        return {self.name: self.settings.model_dump(mode="json")}

    @property
    def name(self) -> str:
        """The step's name, which is its rule in the ledger."""
        return next(name for name in STEPS if getattr(self, name) is not None)

    @property
    def settings(self) -> Any:
        """The step's section."""
        return getattr(self, self.name)


class Select(Section):
    """
    Select a subset of the pairs by steps, in the order in which they are written, then a budget.

    A step is a key of this section (`like: {examples: mine.txt}`); `steps` is the same as a list.
    """

    steps: tuple[Step, ...] = Field((), description=f"Steps in order: {', '.join(STEPS)}")
    budget: Number | None = Field(None, description="Number of pairs that are kept in the end; null = all")
    fill: Literal["mmr", "farthest", "top", "random"] = Field(
        "mmr", description="How the budget and the shares of sources are filled: see the steps of these names"
    )
    by: Annotated[str, AS_IS] = Field("margin", description=BY)
    relevance: float = Field(0.5, ge=0, le=1, description="For fill: mmr: weight of `by`; diversity has the rest")
    mix: Annotated[dict[str, Annotated[float, Field(ge=0, le=1e9)]], AS_IS] = Field(
        {}, description="Weight of each source in what is kept: {helpful.jsonl: 0.7, safety.jsonl: 0.3}"
    )
    rows: Annotated[dict[str, Annotated[int, Field(ge=0, le=COUNT)]], AS_IS] = Field(
        {}, description="Number of pairs of each source instead of weights: {helpful.jsonl: 3000}"
    )
    clusters: int | None = Field(
        None, ge=1, le=100_000, description="Number of prompt clusters; null = by the number of prompts, at most 50"
    )
    model: Annotated[str | None, NAME] = Field(None, description="A sentence-transformers model; null = MiniLM")
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"steps": value}
        if not isinstance(value, dict):
            return value
        for name in value:
            if name not in (known := [*cls.model_fields, *STEPS]):
                raise _unknown("key", str(name), known)
        if not (named := {name: each for name, each in value.items() if name in STEPS}):
            return value
        steps = value.get("steps", [])
        steps = [{one: {}} if isinstance(one, str) else one for one in steps] if isinstance(steps, list) else [steps]
        others = {name: each for name, each in value.items() if name not in STEPS}
        return others | {"steps": _merged(steps, named)}

    @field_validator("mix")
    @classmethod
    def _weighs_something(cls, value: dict[str, float]) -> dict[str, float]:
        if value and not any(value.values()):
            raise ValueError("at least one weight must be above 0")
        return value

    @model_validator(mode="after")
    def _selects(self) -> "Select":
        if self.mix and self.rows:
            raise ValueError("name mix (weights) or rows, not both")
        return self

    @property
    def rankings(self) -> dict[str, str]:
        """What the section and its steps rank by, by key."""
        steps = {f"select.{step.name}.by": step.settings.by for step in self.steps if hasattr(step.settings, "by")}
        return {"select.by": self.by, **steps}

    @property
    def groupings(self) -> list[str]:
        """The columns by whose values pairs are capped."""
        return [step.settings.per for step in self.steps if isinstance(step.settings, Cap)]

    def filling(self, n: int) -> Step:
        """Return the step that selects the last n pairs."""
        ranked = {} if self.fill == "random" else {"by": self.by}
        weighted = {"relevance": self.relevance} if self.fill == "mmr" else {}
        return Step.model_validate({self.fill: {"n": n, **ranked, **weighted}})


def _unknown(what: str, name: str, known: list[str]) -> PydanticCustomError:
    filled = {"what": what, "name": name[:80], "nearest": nearest(name, known), "known": ", ".join(known)}
    return PydanticCustomError("step", "unknown {what} {name}.{nearest} Known: {known}", filled)


def _merged(steps: list[Any], named: dict[str, Any]) -> list[Any]:
    """Return the steps with the named ones: one that is there already gets the settings, others come last."""
    merged = list(steps)
    for name, settings in named.items():
        there = [n for n, step in enumerate(merged) if isinstance(step, dict) and list(step) == [name]]
        if settings is None or settings is False:
            merged = [step for n, step in enumerate(merged) if n not in there]
        elif len(there) == 1 and isinstance(settings, dict) and isinstance(merged[there[0]][name], dict):
            merged[there[0]] = {name: {**merged[there[0]][name], **settings}}
        else:
            merged.append({name: settings})
    return merged
