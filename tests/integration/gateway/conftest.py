"""Fixtures of tests of the gateway."""

from collections.abc import Callable

import pytest

from orderworks.updates.stream import UpdateStream


@pytest.fixture
def waiting_count(updates: UpdateStream) -> Callable[[], int]:
    """Count the updates that wait in the streams."""
    return lambda: sum(map(updates.length, updates.all_shards()))
