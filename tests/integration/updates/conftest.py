"""Fixtures of tests of the flow of updates."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain
from orderworks.updates.outbox import OutboxSource
from orderworks.updates.stream import UpdateStream
from tests.support.types import DrainOutbox, WriteRows


@pytest.fixture
def two_orders(seed: WriteRows) -> None:
    """Two orders of one customer."""
    seed({key: (1, "new", Decimal("1.00"), 0) for key in (1, 2)})


@pytest.fixture
def drain_outbox(
    engine: sa.Engine, updates: UpdateStream, cache: Redis, settings: Settings
) -> DrainOutbox:
    """Drain the outbox until it is empty."""
    return lambda: Drain(engine, OutboxSource(updates), cache, settings).run()
