"""What the training device can do, and the batch that fits into its memory."""

import pytest

from train.models import ModelShape
from train.training.memory import Plan, largest_batch, required_bytes, supports_bfloat16

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch


@pytest.mark.parametrize(
    ("features", "supported"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False}, False),
        ({"neon": True}, False),
    ],
)
def test_a_cpu_needs_one_of_two_features(
    features: dict[str, bool], supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert supports_bfloat16() is supported


SHAPE = ModelShape(parameters=1000, linear_sizes=100, hidden=8, layers=2, context=None)
LORA = Plan(lora_rank=4, half_precision=True)


@pytest.mark.parametrize(
    ("plan", "pairs", "required"),
    [
        (LORA, 1, 2 * 1000 + 16 * 4 * 100 + 20 * 8 * 34 * 2),
        (LORA, 2, 30_160),
        (
            Plan(lora_rank=4, half_precision=True, checkpointing=True),
            1,
            2 * 1000 + 16 * 4 * 100 + 20 * 8 * (2 * 2 + 34),
        ),
        (Plan(lora_rank=None, half_precision=False), 1, 16 * 1000 + 20 * 8 * 34 * 2 * 2),
    ],
)
def test_bytes_for_two_sequences_of_ten_tokens_per_pair(plan: Plan, pairs: int, required: int) -> None:
    assert required_bytes(SHAPE, plan, pairs, 10) == required


@pytest.mark.parametrize(
    ("limit", "free", "batch"),
    [(2, 37_700, 2), (2, 37_699, 1), (9, 37_700, 2), (1, 37_700, 1), (3, 10**9, 2), (8, 0, 1)],
)
def test_the_largest_batch_that_fits_into_four_fifths(limit: int, free: int, batch: int) -> None:
    assert largest_batch(SHAPE, LORA, 10, limit, free) == batch
