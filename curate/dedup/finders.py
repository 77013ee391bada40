"""
The duplicate finders that a recipe can name, in the order in which their clusters are resolved.

To add one, write a file like `near_finder.py` (a section and a class, see `DuplicateFinder`) and add its line here: the
recipe's `dedup` gets a key of that name, and the ledger a rule NAME_duplicate.
"""

from curate.dedup.finder import DuplicateFinder
from curate.dedup.near_finder import NearFinder
from curate.dedup.semantic_finder import SemanticFinder

FINDERS: dict[str, type[DuplicateFinder]] = {
    "near": NearFinder,
    "semantic": SemanticFinder,
}
