"""Recipe section for training a model on the pairs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr

from curate.schema.section import NAME, TOKENS, Holds, Section, Seed


class Train(Section):
    """How a model is trained on the pairs. Other options of TRL go into `trl`, under TRL's names."""

    model: Annotated[str | None, NAME] = Field(
        None, description="Folder or Hub id of the base model; can also be given as --model"
    )
    method: Literal["dpo", "orpo", "reward", "sft"] = Field("dpo", description="TRL trainer to use")
    sft_first: bool = Field(
        False, description="Train on the chosen answers first; for a base model without chat training"
    )
    chat_template: Annotated[str | None, Holds("file", ("zephyr",))] = Field(
        None, description="zephyr, or a .jinja file; null = the model's own"
    )
    lora: bool = Field(True, description="Train a LoRA adapter; false = all weights")
    lora_rank: int = Field(16, ge=1, le=4096)
    max_length: int | None = Field(
        None, ge=2, le=TOKENS, description="Maximum tokens of prompt and answer; null = from the preflight"
    )
    keep: float = Field(
        0.99, gt=0, le=1, description="Share of the rows that fit into the preflight's max_length without truncation"
    )
    batch: int = Field(
        16,
        ge=1,
        le=1_000_000,
        description="Pairs per optimizer step; the per-device batch size is determined automatically",
    )
    evaluations: int = Field(
        8, ge=1, le=10_000, description="Number of evaluations on held-out pairs; each also saves a checkpoint"
    )
    samples: int = Field(
        8, ge=0, le=100_000, description="Held-out prompts answered at each evaluation, to track answer length"
    )
    early_stop: bool = Field(True, description="Stop if held-out accuracy falls or chosen log-probs collapse")
    seed: Seed = 0
    trl: Annotated[dict[str, Any], Holds("trainer")] = Field(
        {}, description="Any option of TRL's trainer: {beta: 0.05, learning_rate: 1.0e-5}"
    )

    _remote_code: bool = PrivateAttr(default=False)  # no key: only the command line and Python can turn it on

    @property
    def trust_remote_code(self) -> bool:
        """Whether code in the model's repository may run."""
        return self._remote_code

    def with_remote_code(self) -> Self:
        """Return the section with `trust_remote_code` on."""
        copy = self.model_copy()
        copy._remote_code = True
        return copy
