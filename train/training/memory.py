"""How much memory training takes, by arithmetic: good to about a third, and enough to choose a first batch."""

from dataclasses import dataclass

from curate.errors import require
from train.models import EXTRA, Shape

# Bytes of activations that a layer keeps for its backward pass, a token and unit of hidden size, in 16 bits and with
# attention that stores no score matrix (Korthikanti et al. 2022, arXiv:2205.05198, section 4); a checkpointed layer
# keeps its input.
KEPT, CHECKPOINTED = 34, 2
CPU_TOKENS = 4096  # at once on a CPU: beyond it new pages of memory cost more than larger matrices bring
SPARE = 0.8  # share of the free memory to plan with: allocators and libraries need the rest


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides on memory beside the model and the batch."""

    lora_rank: int | None  # None = all weights are trained
    half: bool  # weights and activations in 16 bits
    checkpointing: bool = False


def needed(shape: Shape, plan: Plan, pairs: int, length: int) -> int:
    """Bytes to train on batches of `pairs`, both sequences of each `length` tokens long. No second model is counted."""
    size = 2 if plan.half else 4
    tokens = 2 * pairs * length
    kept = CHECKPOINTED if plan.checkpointing else KEPT
    activations = tokens * shape.hidden * (kept * shape.layers + (KEPT if plan.checkpointing else 0)) * size // 2
    if plan.lora_rank is None:
        return 16 * shape.parameters + activations  # weights, gradients, and two moments of Adam, 4 bytes each
    return size * shape.parameters + 16 * plan.lora_rank * shape.linear_sizes + activations


def free() -> int:
    """Bytes free on the device that would be trained on: the first GPU, else this machine."""
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(require("psutil", EXTRA).virtual_memory().available)


def half() -> bool:
    """Whether the device that would be trained on computes in bfloat16 itself: any GPU, a CPU that is made for it."""
    torch = require("torch", EXTRA)
    if torch.cuda.is_available():
        return True
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def first_batch(shape: Shape, plan: Plan, length: int, most: int, room: int) -> int:
    """The largest power of two up to `most` pairs that should fit into `room` bytes; 1 where none does."""
    pairs = 1
    while pairs * 2 <= most and needed(shape, plan, pairs * 2, length) <= SPARE * room:
        pairs *= 2
    return pairs
