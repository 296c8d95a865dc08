"""Real servers for every test that wants them: one stack a session, a fresh database a test."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrations import runner
from orders.database import database_address, make_engine
from orders.redis import Redis, make_redis
from orders.settings import Settings
from orderworks.embedded.stack import SERVERS, Stack, temporary_stack

TEMPLATE = "template_orders"

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
def settings(
    stack: Stack, admin: sa.Engine, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings of a fresh database, empty Valkeys and an empty spool, also in the environment."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    for variable, value in stack.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("DATABASE_URL", make_database(stack, admin, name, template))
    monkeypatch.setenv("ORDERWORKS_HOME", str(tmp_path / "home"))
    made = Settings.load()
    for url in (made.broker, made.stream, made.cache):
        with make_redis(url, timeout=5) as client:
            client.flushdb()
    yield made
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


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


def make_database(stack: Stack, admin: sa.Engine, name: str, template: str) -> str:
    """A database copied from a template; its URL for the role that applications use."""
    url = sa.make_url(stack.environment["DATABASE_URL"])
    with admin.connect() as connection:
        connection.execute(
            sa.text(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {url.username}")
        )
    return url.set(database=name).render_as_string(hide_password=False)
