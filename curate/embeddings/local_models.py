"""Models of transformers in this process: loading, padding and batching, log-probs of tokens, rewards."""

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from curate.embeddings.adapters import adapter_in, merged
from curate.embeddings.encoder import FILES, loading, model_folder
from curate.errors import InputError, require
from curate.files import digest

EXTRA = "embed"  # torch and transformers are in it
NO_LIMIT = 10**9
CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # how names of architectures end
CLASSIFIER = "ForSequenceClassification"
TASKS = {"CAUSAL_LM": "LoraForCausalLM", "SEQ_CLS": "LoraForSequenceClassification"}  # of adapters
SCORED_AT_ONCE = 4  # sequences, whose logits over the whole vocabulary are in memory at the same time

Ids = list[int]
T = TypeVar("T")
R = TypeVar("R")


def load(kind: Any, name: str, device: str | None, cpu_dtype: str, **options: Any) -> tuple[Any, Any]:
    """Load tokenizer and model, on its device; an adapter is merged into its base. Remote code is never executed."""
    torch, transformers = require("torch", EXTRA), require("transformers", EXTRA)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = "bfloat16" if device.startswith("cuda") else cpu_dtype
    with loading(name) as folder:
        adapter = adapter_in(folder)
        base = model_folder(adapter.base_model_name_or_path) if adapter else folder
        own = tuple((adapter and adapter.modules_to_save) or ())
        has_tokenizer = (Path(folder) / "tokenizer_config.json").is_file()
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder if has_tokenizer else base, trust_remote_code=False
        )
        model, info = kind.from_pretrained(
            base, dtype=dtype, trust_remote_code=False, output_loading_info=True, **options
        )
        missing = sorted(key for key in info["missing_keys"] if not key.startswith(own))
        if missing:  # they would be initialized at random
            raise InputError(f"{name} is not a {kind.__name__}: its weights lack {', '.join(missing[:3])}")
        model = merged(model, folder, name) if adapter else model
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
    # Logits over the vocabulary take most of the memory: none are needed before the first answer.
    used = ids.shape[1] - min(len(prompt) for prompt, _ in answers) + 1
    keep = {"logits_to_keep": used} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **keep).logits
        left_out = ids.shape[1] - logits.shape[1]
        found: list[list[float]] = []
        for row, (prompt, answer) in enumerate(answers):
            start = len(prompt) - 1 - left_out
            each = logits[row, start : start + len(answer)].float()
            targets = torch.tensor(answer, device=ids.device, dtype=torch.long)
            found.append((each.gather(-1, targets[:, None])[:, 0] - each.logsumexp(-1)).tolist())
    return found


def one_line(error: Exception) -> str:
    """Format an error for a reply or message."""
    return " ".join(str(error).split())[:300]


def dtype_here() -> str:
    """Return the dtype in which models compute on this machine: bfloat16 on a GPU, float32 on the CPU."""
    return "bfloat16" if require("torch", EXTRA).cuda.is_available() else "float32"


def fingerprint_of(name: str) -> str:
    """Return what changes when the files of a model do: the commit of a Hub id, else a hash of the folder's files."""
    folder = Path(model_folder(name))
    adapter = adapter_in(folder)
    base = fingerprint_of(adapter.base_model_name_or_path) if adapter else ""
    if folder.parent.name == "snapshots":
        return folder.name + base
    files = sorted(path for pattern in (*FILES, "*.bin") for path in folder.glob(pattern))
    sums = "".join(f"{path.name} {digest(path)}\n" for path in files)
    return hashlib.sha256((sums + base).encode()).hexdigest()


def token_batches(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """
    Yield slices of rows, longest first, so that each has at most `most` tokens with its padding, or is a single row.

        list(token_batches([5, 3, 2, 2], 9))  # [slice(0, 1), slice(1, 4)]
    """
    start = 0
    while start < len(lengths):
        stop = start + max(1, most // max(1, lengths[start]))
        yield slice(start, min(stop, len(lengths)))
        start = stop


def load_causal(name: str, device: str | None = None, *, chat: bool = True) -> tuple[Any, Any]:
    """
    Load tokenizer and causal model, in float32 on the CPU.

    Raises InputError for a model of another kind, which transformers would load in part or run with attention to later
    tokens, and, for a `chat` model, without a chat template.
    """
    _, kind = _described(name)
    if kind and not kind.endswith(CAUSAL):
        raise InputError(f"{name} is not a causal language model: it is a {kind}")
    tokenizer, model = load(require("transformers", EXTRA).AutoModelForCausalLM, name, device, "float32")
    if chat and not tokenizer.chat_template:
        raise InputError(f"{name} has no chat template; expected a chat model (its name often ends in -Instruct)")
    return tokenizer, model


def load_reward(name: str, device: str | None = None) -> tuple[Any, Any]:
    """
    Load tokenizer and reward model, in float32 on the CPU.

    Raises InputError for any other than a sequence classifier of one label.
    """
    labels, kind = _described(name)
    if kind and not kind.endswith(CLASSIFIER):
        raise InputError(f"{name} is not a reward model: it is a {kind}, expected a sequence classifier")
    if labels != 1:
        raise InputError(f"{name} is not a reward model: it has {labels} labels, expected 1")
    auto = require("transformers", EXTRA).AutoModelForSequenceClassification
    return load(auto, name, device, "float32", num_labels=1)


def _described(name: str) -> tuple[int, str]:
    """Return how many labels a model has, and its architecture ("" = not known); an adapter is what it was made for."""
    with loading(name) as folder:
        if (adapter := adapter_in(folder)) is not None:
            return 1, TASKS.get(adapter.task_type or "", adapter.task_type or "")
        config = require("transformers", EXTRA).AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config.num_labels, next(iter(config.architectures or []), "")


def rewards(model: Any, rows: Sequence[Ids]) -> list[float | None]:
    """Return the number that a sequence classifier of one label gives each row, in one batch; None if not finite."""
    torch = require("torch", EXTRA)
    config = model.config.get_text_config()
    pad = config.pad_token_id
    if pad is None:
        # Decoders read the score at the last token that is not padding. Without a padding token of the model's own, any
        # token works that is not the last one of a row.
        pad = min(set(range(len(rows) + 1)) - {row[-1] for row in rows})
    ids, mask = padded(rows, pad, model.device, left=False)
    before, config.pad_token_id = config.pad_token_id, pad
    try:
        with torch.inference_mode():
            numbers = model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    finally:
        config.pad_token_id = before
    return [number if math.isfinite(number) else None for number in numbers]
