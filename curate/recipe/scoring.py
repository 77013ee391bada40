"""Recipe sections for signals that models measure."""

from typing import Annotated

from pydantic import Field, model_validator

from curate.schema.section import AS_IS, NAME, TOKENS, Section, Texts

AUTO = "auto"


class LabelNoise(Section):
    """How probable it is that each label is right, learnt from the other pairs (extra: embed). Nothing is flipped."""

    vectors: bool = Field(True, description="Also learn from embeddings of the answers")
    model: Annotated[str | None, NAME] = Field(None, description="A sentence-transformers model; null = MiniLM")
    annotator: Annotated[str | None, AS_IS] = Field(
        AUTO,
        description="Column of the source that says who gave the label: extra.worker; auto = annotator, worker_id and "
        "the like; null = not used",
    )


class ModelSignals(Section):
    """
    Signals that models measure on every pair: rewards, likelihood, relevance.

    Models are folders or Hub ids, also of LoRA adapters (extra: train).
    """

    reward: Annotated[Texts, NAME] = Field(
        (), description="Reward models (sequence classifiers of one label); several also give a standard deviation"
    )
    policy: Annotated[str | None, NAME] = Field(None, description="Causal model of the log-likelihood and perplexity")
    reference: Annotated[str | None, NAME] = Field(
        None, description="Causal model that `policy` is compared with, for implicit_gap; of the same tokenizer"
    )
    beta: float = Field(0.1, gt=0, le=1000, description="Factor of implicit_gap, as in DPO")
    relevance: bool = Field(False, description="Measure how similar each answer is to the prompt")
    encoder: Annotated[str | None, NAME] = Field(
        None, description="For relevance: a sentence-transformers model; null = MiniLM"
    )
    max_tokens: int | None = Field(
        None, ge=2, le=TOKENS, description="Longer texts are not measured; null = what each model can read"
    )
    batch_tokens: int = Field(
        4096, ge=1, le=TOKENS, description="Tokens, padding included, that a model reads at once; more on a large GPU"
    )

    @model_validator(mode="after")
    def _measures_something(self) -> "ModelSignals":
        if not (self.reward or self.policy or self.relevance):
            raise ValueError("name reward, policy, or relevance: true")
        if self.reference and not self.policy:
            raise ValueError("reference: name the policy that is compared with it")
        if self.encoder and not self.relevance:
            raise ValueError("encoder: set relevance: true, which uses it")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the signals that are measured."""
        of_side = {
            "reward": self.reward,
            **dict.fromkeys(("logp", "logp_per_token", "perplexity"), self.policy),
            "relevance": self.relevance,
        }
        of_pair = {
            "reward_margin": self.reward,
            "reward_std": len(self.reward) > 1,
            "reward_strength": self.reward,
            "implicit_gap": self.reference,
        }
        found = [f"{side}_{name}" for name, asked in of_side.items() if asked for side in ("chosen", "rejected")]
        return (*found, *(name for name, asked in of_pair.items() if asked))
