"""Real servers for every test that wants them: one stack a session, a clean database a test."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
import structlog

from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks_app.embedded.stack import Stack
from tests.support.databases import Databases, running_databases

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
