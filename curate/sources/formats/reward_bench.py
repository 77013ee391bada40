"""
RewardBench: prompts with a better and a worse answer, of which `subset` names the task. An eval set.

in : prompt, chosen, rejected: as for `preference` | chosen_model, rejected_model, subset: str | id
out: PAIR

https://huggingface.co/datasets/allenai/reward-bench
"""

from curate.sources.columns import Field
from curate.sources.formats import preference
from curate.sources.raw_block import Columns

MARKS = ("prompt", "chosen", "rejected", "chosen_model", "rejected_model", "subset", "id")
to_pairs = preference.to_pairs


def fields(columns: Columns) -> dict[str, Field] | None:
    """Return the fields of the pair and its models; None for other columns."""
    return preference.fields(columns) if set(MARKS) == set(columns) else None
