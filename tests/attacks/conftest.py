"""One victim for each file of attacks, with its folder."""

from collections.abc import Iterator

import pytest

from tests.attacks.harness import Victim


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with Victim(tmp_path_factory.mktemp("victim")) as victim:
        yield victim
