"""
Duplicates among pairs: who is like whom (`near`, `semantic`, `components`, `guarded`), and who stays (`survivors`).

Texts in, edges out; edges in, clusters out; clusters in, and out comes which rows go and what they matched.
"""

from curate.dedup.clusters import components
from curate.dedup.near import near
from curate.dedup.resolve import CLAIMS, survivors
from curate.dedup.semantic import against, guarded, semantic

__all__ = ["CLAIMS", "against", "components", "guarded", "near", "semantic", "survivors"]
