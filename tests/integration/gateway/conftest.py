"""A gateway over the test's own database, and a client of it."""

from collections.abc import Iterator

import httpx
import pytest

from orderworks.core.settings import Settings
from tests.support.gateways import client_of, running_gateway


@pytest.fixture
def gateway(settings: Settings) -> Iterator[str]:
    """The address of a running gateway."""
    with running_gateway(settings) as address:
        yield address


@pytest.fixture
def http(gateway: str) -> Iterator[httpx.Client]:
    """A client of it, on the loopback and without a token."""
    with client_of(gateway) as client:
        yield client
