"""Real servers for every test that wants them: one stack a session, a clean database a test."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import hypothesis
import pytest
import sqlalchemy as sa
import structlog

from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks.updates.stream import UpdateStream
from orderworks_app.embedded.stack import Stack
from producer import Producer
from tests.support.databases import Databases, running_databases
from tests.support.pooler import pgbouncer
from tests.support.postgresql import BINARIES, binaries_15

# A slow example shows a busy machine. Every run tries the same examples;
# `--hypothesis-profile=explore` tries others.
hypothesis.settings.register_profile(
    "explore", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "orderworks", hypothesis.settings.get_profile("explore"), derandomize=True, database=None
)
hypothesis.settings.load_profile("orderworks")

# Unconfigured, structlog prints to standard output, where tests read what a command prints.
structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


collect_ignore = [
    file
    for file, is_installed in (
        ("integration/servers/test_postgresql_15.py", binaries_15()),
        ("integration/servers/test_pooler.py", pgbouncer()),
    )
    if not is_installed
]


def pytest_report_header() -> list[str]:
    """Name the servers of a distribution with which some tests run, or that these are left out."""
    return [
        f"PostgreSQL of all tests: {os.environ.get(BINARIES, 'embedded')}",
        f"PostgreSQL 15: {binaries_15() or 'not installed, its tests are left out'}",
        f"PgBouncer: {pgbouncer() or 'not installed, its tests are left out'}",
    ]


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """PostgreSQL and both Valkeys, in a folder that goes with the session."""
    with running_databases(durable=False) as made:
        yield made


@pytest.fixture
def stack(databases: Databases) -> Stack:
    """The servers of the session."""
    return databases.stack


@pytest.fixture
def admin(databases: Databases) -> sa.Engine:
    """PostgreSQL's superuser, outside of transactions."""
    return databases.admin


@pytest.fixture(scope="session")
def environment() -> Mapping[str, str]:
    """Variables that the tests of a folder or a module need in addition."""
    return {}


@pytest.fixture
def settings(
    databases: Databases, environment: Mapping[str, str], tmp_path: Path
) -> Iterator[Settings]:
    """The settings of a clean database, empty Valkeys and an empty spool, also in the environment."""
    with databases.fresh_settings(tmp_path / "home", **environment) as made:
        yield made


@pytest.fixture
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """The test's database."""
    made = make_engine(settings, "orderworks-test")
    yield made
    made.dispose()


@pytest.fixture
def stream(settings: Settings) -> Iterator[Redis]:
    """The Valkey of the update stream."""
    with make_redis(settings.stream, timeout=5) as client:
        yield client


@pytest.fixture
def cache(settings: Settings) -> Iterator[Redis]:
    """The Valkey of cached reads."""
    with make_redis(settings.cache, timeout=5) as client:
        yield client


@pytest.fixture
def updates(stream: Redis, settings: Settings) -> UpdateStream:
    """The streams of accepted updates."""
    return UpdateStream(stream, settings.update_shards, settings.stream_limit)


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    """A producer for the test's servers."""
    assert settings.stream
    with Producer.from_settings() as made:
        yield made


@pytest.fixture
def importer(engine: sa.Engine, stream: Redis, cache: Redis, settings: Settings) -> Importer:
    """An importer as a worker has one; its chunks have three lines, so that small files have several."""
    small = settings.model_copy(update={"import_chunk_rows": 3})
    return Importer(engine, Spool(settings.spool), stream, cache, small)


@pytest.fixture
def gateway(settings: Settings) -> Iterator[str]:
    """The address of a running gateway."""
    from tests.support.gateways import running_gateway  # noqa: PLC0415 - most tests need no web server

    with running_gateway(settings) as address:
        yield address


@pytest.fixture
def http(gateway: str) -> Iterator[httpx.Client]:
    """A client of the gateway, on the loopback and without a token."""
    with httpx.Client(base_url=gateway, timeout=30) as client:
        yield client
