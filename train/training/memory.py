"""Estimate of the memory that training needs: accurate to about a third, enough to choose a first micro-batch."""

from dataclasses import dataclass

from curate.errors import require
from train.models import EXTRA, ModelShape

# Bytes of activations that a layer keeps for the backward pass, per token and unit of hidden size, in 16 bits and with
# attention that stores no score matrix (Korthikanti et al. 2022, arXiv:2205.05198, section 4). With gradient
# checkpointing a layer keeps only its input.
ACTIVATION_BYTES, CHECKPOINTED_BYTES = 34, 2
CPU_TOKENS = 4096  # per forward pass on a CPU: beyond it, allocating memory costs more than larger matrices save
USABLE_SHARE = 0.8  # of the free memory: allocators and libraries need the rest


@dataclass(frozen=True, slots=True)
class Plan:
    """What memory use depends on besides the model and the batch."""

    lora_rank: int | None  # None = all weights are trained
    half_precision: bool  # weights and activations in 16 bits
    checkpointing: bool = False


def required_bytes(shape: ModelShape, plan: Plan, pairs: int, length: int) -> int:
    """
    Return the bytes needed to train on batches of `pairs`, with two sequences of `length` tokens each.

    There is no second model: the reference's log-probs are precomputed, or computed without the adapter.
    """
    size = 2 if plan.half_precision else 4
    tokens = 2 * pairs * length
    per_layer = CHECKPOINTED_BYTES if plan.checkpointing else ACTIVATION_BYTES
    recomputed = ACTIVATION_BYTES if plan.checkpointing else 0  # one layer at a time
    activations = tokens * shape.hidden * (per_layer * shape.layers + recomputed) * size // 2
    if plan.lora_rank is None:
        return 16 * shape.parameters + activations  # weights, gradients, and Adam's two moments, 4 bytes each
    return size * shape.parameters + 16 * plan.lora_rank * shape.linear_sizes + activations


def free_bytes() -> int:
    """Return the free memory of the device that trains: the first GPU, otherwise this machine's RAM."""
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(require("psutil", EXTRA).virtual_memory().available)


def supports_bfloat16() -> bool:
    """Return whether the training device computes in bfloat16 natively: any GPU, or a CPU with AVX512-BF16 or AMX."""
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def largest_batch(shape: ModelShape, plan: Plan, length: int, limit: int, free: int) -> int:
    """Return the largest power of two up to `limit` pairs that should fit into `free` bytes, but at least 1."""
    pairs = 1
    while pairs * 2 <= limit and required_bytes(shape, plan, pairs * 2, length) <= USABLE_SHARE * free:
        pairs *= 2
    return pairs
