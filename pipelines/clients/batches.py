"""Shared by models in this process: loading, chat templates, padding and batching."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from curate.embeddings.encoder import loading
from curate.errors import InputError, require
from curate.text.chat import render_chat
from pipelines.clients.requests import Messages

EXTRA = "embed"  # torch and transformers are in it
NO_LIMIT = 10**9
SCORED_AT_ONCE = 4  # sequences, whose logits over the whole vocabulary are in memory at the same time

Ids = list[int]
T = TypeVar("T")
R = TypeVar("R")


def rendered(tokenizer: Any, messages: Messages, *, answer: bool, **options: Any) -> str:
    """Render the chat template; with `answer`, up to the beginning of the answer."""
    return render_chat(tokenizer, messages, add_generation_prompt=answer, **options)


def load(kind: Any, name: str, device: str | None, cpu_dtype: str) -> tuple[Any, Any]:
    """Load tokenizer and model, on its device. Remote code is never executed."""
    torch, transformers = require("torch", EXTRA), require("transformers", EXTRA)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = "bfloat16" if device.startswith("cuda") else cpu_dtype
    with loading(name) as folder:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, info = kind.from_pretrained(folder, dtype=dtype, trust_remote_code=False, output_loading_info=True)
        if missing := sorted(info["missing_keys"]):  # they would be initialized at random
            raise InputError(f"{name} is not a {kind.__name__}: its weights lack {', '.join(missing[:3])}")
        return tokenizer, model.to(device).eval()


def token_limit(model: Any, *others: int) -> int:
    """Return the context length by the configuration and other limits; a billion means that none is set."""
    return min(getattr(model.config.get_text_config(), "max_position_embeddings", None) or NO_LIMIT, NO_LIMIT, *others)


def padded(rows: Sequence[Ids], pad: int, device: Any, *, left: bool) -> tuple[Any, Any]:
    """Pad rows to equal length; returns token ids and the attention mask as tensors."""
    torch = require("torch", EXTRA)
    width = max(map(len, rows))

    def filled(row: Ids, value: int) -> Ids:
        gap = [value] * (width - len(row))
        return gap + row if left else row + gap

    ids, mask = [filled(row, pad) for row in rows], [filled([1] * len(row), 0) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def batched(
    jobs: Sequence[T], size: int, run: Callable[[Sequence[T]], list[R]], failed: Callable[[str], R]
) -> Iterator[tuple[T, R]]:
    """Yield every job with its result, in batches of `size`; an error of torch fails only the job that causes it."""
    for start in range(0, len(jobs), size):
        batch = jobs[start : start + size]
        yield from zip(batch, _halved(batch, run, failed), strict=True)


def _halved(batch: Sequence[T], run: Callable[[Sequence[T]], list[R]], failed: Callable[[str], R]) -> list[R]:
    """Run a batch; after an error run its halves, down to the single job that fails."""
    try:
        return run(batch)
    except RuntimeError as error:  # of torch: out of memory, overflow
        if len(batch) == 1:
            return [failed(one_line(error))]
    half = len(batch) // 2
    return _halved(batch[:half], run, failed) + _halved(batch[half:], run, failed)


def log_probs(model: Any, answers: Sequence[tuple[Ids, Ids]]) -> list[list[float]]:
    """
    Return the log-prob of each token of each answer, in nats, under a causal model.

    `answers`: tokens of the prompt (at least one) and tokens of the answer. All are computed in one batch.
    """
    torch = require("torch", EXTRA)
    ids, mask = padded([prompt + answer for prompt, answer in answers], 0, model.device, left=False)
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        found: list[list[float]] = []
        for row, (prompt, answer) in enumerate(answers):
            at = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
            targets = torch.tensor(answer, device=ids.device, dtype=torch.long)
            found.append(logits[row, at].float().log_softmax(-1).gather(-1, targets[:, None])[:, 0].tolist())
    return found


def one_line(error: Exception) -> str:
    """Format an error for a reply or message."""
    return " ".join(str(error).split())[:300]
