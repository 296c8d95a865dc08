"""The tasks of updates, in this process."""

from collections.abc import Iterator

import pytest
import redis
import sqlalchemy as sa
from kombu.exceptions import OperationalError
from tenacity import stop_after_attempt

from orderworks.core.keys import update_stream
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.updates.drain import Drain, DrainResult
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tasks.updates import drain_updates
from tests.support.read_only import new_sessions_are_read_only
from tests.support.types import AcceptUpdates
from worker import lifecycle
from worker.resources import WorkerResources


@pytest.fixture(autouse=True)
def _resources(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The resources of a worker's process."""
    monkeypatch.setattr(lifecycle, "_process", WorkerResources.start(settings))
    yield
    lifecycle.current().stop()


def test_shard_of_a_failed_drain_may_be_nudged_at_once(
    engine: sa.Engine,
    updates: UpdateStream,
    accept: AcceptUpdates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Drain._apply.retry, "stop", stop_after_attempt(1))  # noqa: SLF001 - tenacity's
    accept([OrderUpdate(order_id=2, customer_id=1, total="5")])
    with (
        new_sessions_are_read_only(engine),
        pytest.raises(sa.exc.DBAPIError, match="read-only transaction"),
    ):
        drain_updates.run(0)
    assert updates.acquire_nudge(0)


def test_shard_of_a_drain_that_failed_by_any_error_may_be_nudged_at_once(
    updates: UpdateStream, stream: Redis
) -> None:
    stream.set(update_stream(0), "no stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        drain_updates.run(0)
    stream.delete(update_stream(0))
    assert updates.acquire_nudge(0)


def test_shard_may_be_nudged_at_once_if_the_next_drain_cannot_be_requested(
    updates: UpdateStream, accept: AcceptUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_updates.app.amqp, "send_task_message", refuse)
    monkeypatch.setattr(Drain, "run", lambda _self: DrainResult({}, more=True))
    accept([OrderUpdate(order_id=2, customer_id=1, total="5")])
    with pytest.raises(OperationalError, match="refused"):
        drain_updates.run(0)
    assert updates.acquire_nudge(0)


def refuse(*_: object, **__: object) -> None:
    """Fail, as the broker does that is unavailable."""
    raise OSError("refused")
