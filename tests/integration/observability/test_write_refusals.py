"""`status` and `doctor` report servers that answer and refuse writes."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks_app.observability.status import Part, StatusReader
from orderworks_app.observability.write_refusals import PROBE_MS, redis_refusal
from tests.integration.observability.test_doctor import failed


@pytest.fixture
def reader(settings: Settings) -> Iterator[StatusReader]:
    """A reader with connections that it keeps, as in the gateway."""
    reader = StatusReader(settings)
    yield reader
    reader.close()


def part(reader: StatusReader, name: str) -> Part:
    """A part of the status now."""
    return next(each for each in reader.status().parts if each.name == name)


@pytest.fixture
def full(stream: Redis) -> Iterator[None]:
    """The server of the stream has no memory left."""
    stream.config_set("maxmemory", "1")
    yield
    stream.config_set("maxmemory", "0")


def test_healthy_servers_accept_writes(reader: StatusReader, stream: Redis) -> None:
    for name in ("postgresql", "stream", "cache"):
        assert part(reader, name).healthy
    assert redis_refusal(stream) is None
    assert 0 < stream.pttl(keys.write_probe()) <= PROBE_MS, "its key does not stay"


@pytest.mark.usefixtures("full")
def test_redis_with_full_memory_refuses_writes(reader: StatusReader, settings: Settings) -> None:
    shown = part(reader, "stream")
    assert not shown.healthy
    assert shown.detail.startswith("refuses writes: ")
    assert "maxmemory" in shown.detail
    assert "refuses writes" in failed(settings)["the update stream accepts writes"]


def test_replica_refuses_writes(reader: StatusReader, settings: Settings, stream: Redis) -> None:
    stream.replicaof("127.0.0.1", "1")
    try:
        assert part(reader, "stream").detail.startswith("refuses writes: ")
        assert "the update stream accepts writes" in failed(settings)
    finally:
        stream.replicaof("NO", "ONE")
    assert part(reader, "stream").healthy


def test_read_only_database_is_reported_until_new_sessions_may_write(
    reader: StatusReader, settings: Settings, engine: sa.Engine, admin: sa.Engine
) -> None:
    database = engine.url.database
    with admin.connect() as connection:
        connection.execute(
            sa.text(f"ALTER DATABASE {database} SET default_transaction_read_only TO on")
        )
    new = StatusReader(settings)
    shown = part(new, "postgresql")
    assert (shown.healthy, shown.detail) == (
        False,
        "refuses writes: it is read-only (default_transaction_read_only)",
    )
    assert "the database accepts writes" in failed(settings)
    with admin.connect() as connection:
        connection.execute(
            sa.text(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        )
    assert part(new, "postgresql").healthy, "its session was replaced"
    new.close()
