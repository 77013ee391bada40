"""One victim per file of attacks, with its folder."""

import os

import pytest

from tests.attacks.harness import Victim

collect_ignore_glob = ["*.py"] if os.name == "nt" else []  # Windows cannot fork


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """Return a victim that has already imported what the file's PRELOAD imports."""
    return Victim(tmp_path_factory.mktemp("victim"), getattr(request.module, "PRELOAD", ""))
