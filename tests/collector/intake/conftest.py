from collections.abc import Iterator

import pytest

from .world import World, intake


@pytest.fixture(scope="module")
def server() -> Iterator[World]:
    with intake() as world:
        yield world


@pytest.fixture
def world(server: World) -> World:
    server.journal.lines, server.journal.full = [], False
    return server
