"""Real servers for every test that wants them: one stack a session, a fresh database a test."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from migrations import runner
from orderworks.core.database import database_address, make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks_app.embedded.stack import SERVERS, Stack, temporary_stack

TEMPLATE = "template_orders"

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "orderworks", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("orderworks")

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """PostgreSQL and both Valkeys, in a folder that goes with the session."""
    with temporary_stack(SERVERS) as running:
        yield running


@pytest.fixture(scope="session")
def admin(stack: Stack) -> Iterator[sa.Engine]:
    """PostgreSQL's superuser, who makes databases."""
    assert stack.admin_url
    engine = sa.create_engine(database_address(stack.admin_url), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def template(stack: Stack, admin: sa.Engine) -> str:
    """A database with the newest schema and no rows, to be cloned."""
    url = make_database(stack, admin, TEMPLATE, "template1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        runner.upgrade()
    return TEMPLATE


@pytest.fixture
def settings(stack: Stack, admin: sa.Engine, template: str, tmp_path: Path) -> Iterator[Settings]:
    """The settings of a fresh database, empty Valkeys and an empty spool, also in the environment."""
    with fresh_settings(stack, admin, template, tmp_path / "home") as made:
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


@contextmanager
def fresh_settings(
    stack: Stack, admin: sa.Engine, template: str, home: Path, **environment: str
) -> Iterator[Settings]:
    """What the fixture `settings` gives, with more of the environment."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    addresses = {
        **stack.environment,
        "DATABASE_URL": make_database(stack, admin, name, template),
        "SPOOL_URL": "",  # the home's own
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in {**addresses, "ORDERWORKS_HOME": str(home), **environment}.items():
            patch.setenv(variable, value)
        made = Settings.load()
        for url in (made.broker, made.stream, made.cache):
            with make_redis(url, timeout=5) as client:
                client.flushdb()
        yield made
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def make_database(stack: Stack, admin: sa.Engine, name: str, template: str) -> str:
    """A database copied from a template; its URL for the role that applications use."""
    url = sa.make_url(stack.environment["DATABASE_URL"])
    with admin.connect() as connection:
        connection.execute(
            sa.text(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {url.username}")
        )
    return url.set(database=name).render_as_string(hide_password=False)
