"""A Hub and a user who publishes to it, per file of tests."""

from collections.abc import Iterator

import pytest

from tests.hub_server import HubServer
from tests.publish.user import Reader, User


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def user(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with User(hub.url, tmp_path_factory.mktemp("home")) as someone:
        yield someone


@pytest.fixture(scope="module")
def loaded(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(hub.url, tmp_path_factory.mktemp("reader")) as reader:
        yield reader
