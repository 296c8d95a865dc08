"""One reading of all servers: what one of them knows does not depend on the others."""

import pytest
import redis
import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.updates.stream import UpdateStream
from orderworks_app.observability.snapshot import read_snapshot

NOWHERE = "127.0.0.1:1"


def test_unavailable_database_and_cache_hide_no_waiting_updates(
    settings: Settings, updates: UpdateStream
) -> None:
    updates.append(1, [b"{}", b"{}"])
    lost = settings.model_copy(update={"database_url": f"postgresql+psycopg2://u@{NOWHERE}/orders"})
    with make_redis(f"redis://{NOWHERE}/0", timeout=1) as cache:
        snapshot = read_snapshot(make_engine(lost, "test"), updates, cache)
    assert snapshot.backlog.result().waiting == 2
    with pytest.raises(sa.exc.OperationalError):
        snapshot.database.result()
    with pytest.raises(redis.ConnectionError):
        snapshot.cache.result()


def test_snapshot_of_idle_servers_counts_nothing(
    engine: sa.Engine, updates: UpdateStream, cache: Redis
) -> None:
    snapshot = read_snapshot(engine, updates, cache)
    database, cached = snapshot.database.result(), snapshot.cache.result()
    assert set(database.totals.values()) == {0}
    assert (database.imports, database.unreplayed) == ({}, 0)
    assert snapshot.beat.result() == []
    assert (set(cached.reads.values()), cached.hit_rate, cached.as_of) == ({0}, None, {})
    assert snapshot.backlog.result().waiting == 0
