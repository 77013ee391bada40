"""The table of mutants: its modules and tests exist, and each mutation listed as equivalent is one that is made."""

from collections import Counter

import yaml

from tests import mutants
from tests.mutants import ROOT, TABLE, Mutant, known_equivalents
from tests.mutation import mutations


def test_modules_and_their_tests_exist() -> None:
    for module, tests in mutants.tests_of().items():
        assert (ROOT / module).is_file(), module
        assert tests, module
        assert [test for test in tests if not (ROOT / test).is_file()] == [], module


def test_each_listed_mutation_exists_once_in_the_list_and_has_a_reason() -> None:
    known = known_equivalents()
    sources = {module: (ROOT / module).read_bytes() for module in {module for module, _, _ in known}}
    made = {Mutant(module, source, each).key() for module, source in sources.items() for each in mutations(source)}
    assert sorted(known.keys() - made) == []
    assert all(why.strip() for why in known.values())
    listed = yaml.safe_load(TABLE.read_text("utf-8"))["equivalent"]
    assert [key for key, n in Counter((e["module"], e["before"], e["after"]) for e in listed).items() if n > 1] == []
