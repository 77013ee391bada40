"""How probable a model finds both answers of each pair, as TRL counts it: sums over the answer's tokens, in nats."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import TemplateError

from curate.embeddings.encoder import loading
from curate.errors import InputError, require
from train.models import EXTRA
from train.tokens import sequences

BATCH = 4  # sequences at once: their logits over the whole vocabulary lie in memory together

SIDES = ("chosen", "rejected")
TUNED, REFERENCE = "tuned", "reference"
Answer = tuple[list[int], list[int]]  # tokens of the prompt, tokens of the answer


@dataclass(frozen=True)
class ModelPair:
    """A tuned model and its reference. With an adapter they are one model, and the reference is it switched off."""

    tuned: Any
    reference: Any
    tokenizer: Any

    def as_reference(self) -> AbstractContextManager[Any]:
        """Inside, the reference speaks."""
        return self.tuned.disable_adapter() if self.reference is self.tuned else nullcontext()


def load_with_reference(folder: Path, reference: str | None) -> ModelPair:
    """
    The model or adapter of a folder, and the reference it is compared with. An adapter's is its own base unless
    another is named; a whole model's has to be named.
    """
    transformers, peft, torch = (require(name, EXTRA) for name in ("transformers", "peft", "torch"))
    cuda = torch.cuda.is_available()
    options = {"dtype": "bfloat16" if cuda else "float32", "trust_remote_code": False}
    is_adapter = (folder / "adapter_config.json").is_file()
    kind = peft.AutoPeftModelForCausalLM if is_adapter else transformers.AutoModelForCausalLM
    with loading(str(folder)):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        tuned = kind.from_pretrained(str(folder), **options)
    if is_adapter and reference is None:
        other = tuned
    elif reference is None:
        raise InputError(f"{folder} is a whole model: name what it is compared with (--reference ID_OR_FOLDER)")
    else:
        with loading(reference) as place:
            other = transformers.AutoModelForCausalLM.from_pretrained(place, **options)
    device = "cuda" if cuda else "cpu"
    return ModelPair(tuned.to(device).eval(), other.to(device).eval(), tokenizer)


def log_probs(models: ModelPair, pairs: pl.DataFrame, max_length: int | None) -> pl.DataFrame:
    """
    in : PAIR
    out: row for row tuned_chosen, tuned_rejected, reference_chosen, reference_rejected (f64, nats), cut at max_length
         as in training; null where the template takes no such pair or the prompt fills max_length.
    """
    answers = tokenized(models.tokenizer, pairs, max_length)
    tuned = sides(TUNED, score(models.tuned, answers))
    with models.as_reference():
        return pl.concat([tuned, sides(REFERENCE, score(models.reference, answers))], how="horizontal")


def tokenized(tokenizer: Any, pairs: pl.DataFrame, max_length: int | None) -> list[Answer | None]:
    """Two answers a pair, chosen and rejected; None, twice, where there is nothing to score."""
    answers: list[Answer | None] = []
    for row in pairs.select("prompt", "chosen", "rejected").iter_rows(named=True):
        try:
            prompt, chosen, rejected = sequences(row, tokenizer)
        except (TemplateError, TypeError, ValueError):
            prompt = chosen = rejected = []
        room = None if max_length is None else max_length - len(prompt)
        usable = bool(prompt) and (room is None or room > 0)
        answers += [(prompt, chosen[:room]), (prompt, rejected[:room])] if usable else [None, None]
    return answers


def sides(who: str, sums: Sequence[float | None]) -> pl.DataFrame:
    """WHO_chosen and WHO_rejected of the scores of `tokenized` pairs."""
    columns = {f"{who}_{side}": sums[place::2] for place, side in enumerate(SIDES)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64))


def score(model: Any, answers: Sequence[Answer | None]) -> list[float | None]:
    """The log-prob of each answer after its prompt; None for None."""
    from pipelines.clients.batches import batched

    jobs = sorted(((n, answer) for n, answer in enumerate(answers) if answer), key=lambda job: -sum(map(len, job[1])))
    done = batched(jobs, BATCH, lambda batch: _score(model, [answer for _, answer in batch]), lambda _: None)
    found = {place: number for (place, _), number in done}
    return [found.get(place) for place in range(len(answers))]


def _score(model: Any, answers: Sequence[Answer]) -> list[float | None]:
    from pipelines.clients.batches import padded

    torch = require("torch", EXTRA)
    ids, mask = padded([prompt + answer for prompt, answer in answers], 0, model.device, left=False)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        found: list[float | None] = []
        for row, (prompt, answer) in enumerate(answers):
            at = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
            said = torch.tensor(answer, device=ids.device)
            logps = logits[row, at].float().log_softmax(-1).gather(-1, said[:, None])
            found.append(float(logps.sum().item()))
    return found
