"""Nothing in the tests reaches a Hub but the ones that they start themselves."""

import gc
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Tests that import torch, TRL or distilabel, here or in a forked process, which takes up to 20 seconds. First and
# beside each other, they are run by one of pytest's processes while the other runs the rest.
HEAVY = (
    "train/", "embeddings/", "pipelines/clients/", "pipelines/judges/", "attacks/test_damage", "attacks/test_replies",
    "api/test_frames", "cli/test_training", "publish/test_pulled", "test_consumers", "test_flow_dedup",
    "test_generate", "text/test_chat",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(here).as_posix().startswith(HEAVY))


def pytest_collection_finish() -> None:
    """Spare Python from looking for garbage among what the tests import, which takes a tenth of the time of some."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
