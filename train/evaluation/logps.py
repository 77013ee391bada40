"""Log-probs of both answers of each pair, as TRL computes them: sums over the answer's tokens, in nats."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from curate.embeddings.encoder import loading
from curate.embeddings.local_models import SCORED_AT_ONCE, batched
from curate.embeddings.local_models import log_probs as of_tokens
from curate.errors import InputError, require
from curate.text.sequences import SIDES, SegmentTokenizer, all_sequences
from train.models import EXTRA

TUNED, REFERENCE = "tuned", "reference"
Answer = tuple[list[int], list[int]]  # tokens of the prompt, tokens of the answer


@dataclass(frozen=True)
class ModelPair:
    """A tuned model and its reference. For an adapter both are one model; the reference is it with the adapter off."""

    tuned: Any
    reference: Any
    tokenizer: Any

    def as_reference(self) -> AbstractContextManager[Any]:
        """Return a context in which `reference` computes as the reference: an adapter is disabled."""
        return self.tuned.disable_adapter() if self.reference is self.tuned else nullcontext()


def load_with_reference(folder: Path, reference: str | None, *, remote_code: bool = False) -> ModelPair:
    """
    Load the model or adapter of a folder, and its reference, a folder or Hub id, in bfloat16 on a GPU, else float32.

    If `reference` is None, an adapter's reference is its own base model. Raises InputError if it is None for a whole
    model. `remote_code` lets code of the models' repositories run.
    """
    transformers, peft, torch = (require(name, EXTRA) for name in ("transformers", "peft", "torch"))
    cuda = torch.cuda.is_available()
    options = {"dtype": "bfloat16" if cuda else "float32", "trust_remote_code": remote_code}
    is_adapter = (folder / "adapter_config.json").is_file()
    auto = peft.AutoPeftModelForCausalLM if is_adapter else transformers.AutoModelForCausalLM
    with loading(str(folder)):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=remote_code)
        tuned = auto.from_pretrained(str(folder), **options)
    if is_adapter and reference is None:
        other = tuned
    elif reference is None:
        raise InputError(f"{folder} is a whole model: specify what to compare it with (--reference ID_OR_FOLDER)")
    else:
        with loading(reference, code=remote_code) as place:
            other = transformers.AutoModelForCausalLM.from_pretrained(place, **options)
    device = "cuda" if cuda else "cpu"
    return ModelPair(tuned.to(device).eval(), other.to(device).eval(), tokenizer)


def log_probs(models: ModelPair, pairs: pl.DataFrame, max_length: int | None) -> pl.DataFrame:
    """
    Score both answers of each pair with both models.

    in : PAIR
    out: tuned_chosen, tuned_rejected, reference_chosen, reference_rejected (f64, nats), one row per pair, in order,
         truncated at max_length as in training; null if the template refuses the pair or the prompt fills max_length
    """
    answers = tokenized(models.tokenizer, pairs, max_length)
    tuned = score_columns(TUNED, score(models.tuned, answers))
    with models.as_reference():
        return pl.concat([tuned, score_columns(REFERENCE, score(models.reference, answers))], how="horizontal")


def tokenized(tokenizer: Any, pairs: pl.DataFrame, max_length: int | None) -> list[Answer | None]:
    """Return two answers per pair, chosen and rejected; two Nones if there is nothing to score."""
    answers: list[Answer | None] = []
    for found in all_sequences(pairs, tokenizer, SegmentTokenizer(tokenizer)):
        prompt, chosen, rejected = ([], [], []) if isinstance(found, str) else (ids.tolist() for ids in found)
        room = None if max_length is None else max_length - len(prompt)
        usable = bool(prompt) and (room is None or room > 0)
        answers += [(prompt, chosen[:room]), (prompt, rejected[:room])] if usable else [None, None]
    return answers


def score_columns(who: str, sums: Sequence[float | None]) -> pl.DataFrame:
    """Return the scores of `tokenized` pairs as the columns WHO_chosen and WHO_rejected, one row per pair."""
    columns = {f"{who}_{side}": sums[place::2] for place, side in enumerate(SIDES)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64))


def score(model: Any, answers: Sequence[Answer | None]) -> list[float | None]:
    """Return the log-prob of each answer given its prompt, in nats; None for None."""

    def sums(jobs: Sequence[tuple[int, Answer]]) -> list[float | None]:
        return [math.fsum(tokens) for tokens in of_tokens(model, [answer for _, answer in jobs])]

    jobs = sorted(((n, answer) for n, answer in enumerate(answers) if answer), key=lambda job: -sum(map(len, job[1])))
    found = {place: number for (place, _), number in batched(jobs, SCORED_AT_ONCE, sums, lambda _: None)}
    return [found.get(place) for place in range(len(answers))]
