"""The stages of a run: each reads what the one before left in the store, and is skipped when its key is there."""

from curate.stages.choosing import cluster, has_diversity, select
from curate.stages.contamination import decontaminate
from curate.stages.duplicates import deduplicate
from curate.stages.measuring import decide, measure
from curate.stages.parts import Left
from curate.stages.reading import Read, read_pairs, read_rows
from curate.stages.splitting import divide, leaks
from curate.stages.writing import account, write_product

__all__ = [
    "Left",
    "Read",
    "account",
    "cluster",
    "decide",
    "decontaminate",
    "deduplicate",
    "divide",
    "has_diversity",
    "leaks",
    "measure",
    "read_pairs",
    "read_rows",
    "select",
    "write_product",
]
