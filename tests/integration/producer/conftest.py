"""Fixtures of tests of producers."""

from collections.abc import Iterator

import pytest

from orderworks.core.settings import Settings
from tests.support.producers import DOORS, ProducerClient
from tests.support.servers import silent_redis


@pytest.fixture(params=DOORS)
def client(request: pytest.FixtureRequest, settings: Settings) -> Iterator[ProducerClient]:
    """Each of the two producers."""
    assert settings.stream
    made = DOORS[request.param]()
    yield made
    made.close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with silent_redis() as url:
        yield url
