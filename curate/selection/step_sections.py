"""The settings of each step of a selection."""

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from curate.schema.section import AS_IS, COUNT, NAME, Compared, Section, Texts

Share = Annotated[float, Field(gt=0, le=1)]
Number = Annotated[int, Field(ge=1, le=COUNT)]
Quantile = Annotated[float, Field(ge=0, le=1)]
BY = "Column to rank by, higher is better: chosen_score, longest, or a signal"


class Sized(Section):
    """How many pairs a step keeps: a number, or a share of those that reach it."""

    n: Number | None = Field(None, description="Number of pairs that are kept")
    share: Share | None = Field(None, description="Share of the pairs that are kept")

    usual_share: ClassVar[float | None] = None  # where neither is named

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, value: Any) -> Any:
        if cls.usual_share is None or not isinstance(value, dict):
            return value
        named = value.get("n") is not None or value.get("share") is not None
        return value if named else {**value, "share": cls.usual_share}

    @model_validator(mode="after")
    def _one_size(self) -> "Sized":
        if (self.n is None) == (self.share is None):
            raise ValueError("name one of n and share")
        return self

    def count(self, rows: int) -> int:
        """Return how many of `rows` pairs are kept; at least one of any."""
        return min(rows, self.n) if self.n is not None else min(rows, max(1, round((self.share or 0) * rows)))


class Like(Section):
    """Keep pairs that are similar to examples or a description (extra: embed)."""

    examples: Annotated[Texts, NAME] = Field(
        (), description="Files, folders or Hub ids with prompts (or pairs) that show what is wanted"
    )
    texts: Annotated[Texts, AS_IS] = Field((), description="The same as texts: prompts, or a description")
    compare: Compared = Field("prompt", description="Text of a pair that is compared with the examples")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Relevance from which a pair counts as similar; 0.5 unless top or share is named"
    )
    top: Number | None = Field(None, description="The most relevant pairs, this many, count as similar")
    share: Share | None = Field(None, description="The most relevant pairs, this share, count as similar")

    @model_validator(mode="after")
    def _has_examples(self) -> "Like":
        if not self.examples and not any(text.strip() for text in self.texts):
            raise ValueError("name examples (a file) or texts")
        if sum(value is not None for value in (self.threshold, self.top, self.share)) > 1:
            raise ValueError("name one of threshold, top and share")
        return self


class Unlike(Like):
    """Drop pairs that are similar to examples or a description (extra: embed)."""


class Topics(Section):
    """Keep or drop clusters of prompts, by their names in the report or by words of these (extra: embed)."""

    keep: Annotated[Texts, AS_IS] = Field((), description="Names, or words of names: all other clusters are dropped")
    drop: Annotated[Texts, AS_IS] = Field((), description="Names, or words of names, of clusters that are dropped")

    @model_validator(mode="after")
    def _names_some(self) -> "Topics":
        if not self.keep and not self.drop:
            raise ValueError("name topics to keep or to drop")
        return self


class Rip(Section):
    """RIP (arXiv 2501.18578): rejected is good and long, and the gap is small, by quantiles within a source."""

    score: Quantile = Field(0.5, description="Quantile of rejected_score from which a pair is kept")
    length: Quantile = Field(0.5, description="Quantile of rejected_chars from which a pair is kept")
    gap: Quantile = Field(0.5, description="Quantile of margin up to which a pair is kept")


class Bees(Sized):
    """BeeS (arXiv 2502.14560): the highest margins, external and implicit ones fused as probabilities."""

    usual_share: ClassVar[float | None] = 0.1
    share: Share | None = Field(None, description="Share of the pairs that are kept; 0.1 unless n is named")
    low: Quantile = Field(0.05, description="Quantile of a margin, within a source, that counts as probability 0")
    high: Quantile = Field(0.95, description="Quantile of a margin, within a source, that counts as probability 1")


class Selective(Sized):
    """Selective DPO (arXiv 2502.09650): the pairs that a model learns most easily, by loss on held-out folds."""

    usual_share: ClassVar[float | None] = 0.5
    share: Share | None = Field(None, description="Share of the pairs that are kept; 0.5 unless n is named")


class ImplicitGap(Sized):
    """Difficulty by implicit reward (arXiv 2508.04149): the smallest implicit gaps above a floor."""

    usual_share: ClassVar[float | None] = 0.1
    share: Share | None = Field(None, description="Share of the pairs that are kept; 0.1 unless n is named")
    floor: float = Field(
        0.0, ge=-1e6, le=1e6, description="Pairs with a gap up to this are dropped: many of them are mislabelled"
    )


class ChosenFirst(Section):
    """What matters in DPO data (arXiv 2508.18312): the quality of chosen first, then the gap."""

    chosen: Share = Field(0.5, description="Share of the pairs, by chosen_score, that are kept first")
    gap: Share = Field(0.5, description="Share of these, by margin, that is kept")


class Top(Sized):
    """The highest values of a column, as quantiles within a source."""

    by: Annotated[str, AS_IS] = Field("margin", description=BY)


class Random(Sized):
    """A random choice, by a hash of pair_id and seed."""


class LengthBalanced(Section):
    """As many pairs whose chosen answer is longer as pairs whose chosen answer is shorter, at every length ratio."""

    width: float = Field(0.25, gt=0, le=10, description="Width of a bin of log2(chosen_chars / rejected_chars)")


class Cap(Section):
    """At most so many pairs per value of a column, or per prompt cluster (extra: embed)."""

    per: Annotated[str, AS_IS] = Field(
        "cluster", description="cluster, source, chosen_model, rejected_model, prompt_id, or a signal"
    )
    n: Number = Field(description="Number of pairs per value that are kept; pairs without a value are all kept")
    by: Annotated[str, AS_IS] = Field("margin", description=BY)


class Mmr(Sized):
    """Good pairs whose prompts differ: maximal marginal relevance (extra: embed)."""

    by: Annotated[str, AS_IS] = Field("margin", description=BY)
    relevance: float = Field(0.5, ge=0, le=1, description="Weight of `by`; diversity has the rest")


class Farthest(Sized):
    """Pairs whose prompts differ as much as possible (extra: embed)."""

    by: Annotated[str, AS_IS] = Field("margin", description="Column that decides among equal prompts")
