"""The tasks of updates, in this process."""

import pytest
import sqlalchemy as sa
from tenacity import stop_after_attempt

from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tasks.updates import drain_updates
from tests.support.read_only import new_sessions_are_read_only
from tests.support.types import AcceptUpdates
from worker import lifecycle
from worker.resources import WorkerResources


def test_shard_of_a_failed_drain_may_be_nudged_at_once(
    engine: sa.Engine,
    settings: Settings,
    updates: UpdateStream,
    accept: AcceptUpdates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Drain._apply.retry, "stop", stop_after_attempt(1))  # noqa: SLF001 - tenacity's
    monkeypatch.setattr(lifecycle, "_process", WorkerResources.start(settings))
    accept([OrderUpdate(order_id=2, customer_id=1, total="5")])
    with (
        new_sessions_are_read_only(engine),
        pytest.raises(sa.exc.DBAPIError, match="read-only transaction"),
    ):
        drain_updates.run(0)
    assert updates.acquire_nudge(0)
    lifecycle.current().stop()
