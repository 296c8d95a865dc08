"""PgBouncer in front of PostgreSQL, by transactions. Collected where PgBouncer is installed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrations import runner
from orderworks.core.database import database_unavailable, make_engine
from orderworks.core.locks import Lock, wait_for_lock
from orderworks.core.sessions import SELF_INVALIDATING, parameters_lost
from orderworks.core.settings import Settings
from orderworks.updates import outbox
from orderworks.updates.messages import OrderUpdate
from tests.support.flows import run_all_flows
from tests.support.pooler import running_pooler
from tests.support.processes import eventually
from worker.postgres_listener import ListenerNudges, listen

IGNORED = (
    "ignore_startup_parameters = options,extra_float_digits,statement_timeout,lock_timeout,"
    "idle_in_transaction_session_timeout,client_connection_check_interval"
)
"""PgBouncer then drops what a session starts with, without an error."""


@pytest.fixture
def pooled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of the same database through a pooler, also in the environment."""
    with running_pooler(settings.database) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("DB_POOLER", "transaction")
        yield Settings.load()


@pytest.fixture
def pooled_engine(pooled: Settings) -> Iterator[sa.Engine]:
    """An engine through the pooler, as a worker has one."""
    engine = make_engine(pooled, "orderworks-test", SELF_INVALIDATING)
    yield engine
    engine.dispose()


def test_all_flows_run_through_a_pooler_of_transactions(
    pooled: Settings, pooled_engine: sa.Engine, folder: Path
) -> None:
    run_all_flows(pooled, pooled_engine, folder)


def test_each_transaction_has_its_parameters_and_leaves_none_to_the_next_client(
    pooled: Settings, pooled_engine: sa.Engine
) -> None:
    invalidates = sa.text("SELECT current_setting('orderworks.invalidates', true)")
    for _transaction in range(3):
        with pooled_engine.begin() as connection:
            assert parameters_lost(connection, pooled) == []
            assert connection.scalar(invalidates) == "on"
    plain = sa.create_engine(pooled_engine.url, poolclass=sa.NullPool)
    with plain.connect() as connection:
        assert len(parameters_lost(connection, pooled)) > 3
        assert connection.scalar(invalidates) != "on"


def test_wait_for_a_lock_leaves_the_lock_timeout_of_the_transaction(
    pooled: Settings, pooled_engine: sa.Engine
) -> None:
    with pooled_engine.begin() as connection:
        assert wait_for_lock(connection, Lock.FOLD, 1)
        assert "lock_timeout" not in parameters_lost(connection, pooled)


@pytest.mark.usefixtures("pooled")
def test_migration_leaves_no_lock_to_a_session_of_the_pooler(pooled_engine: sa.Engine) -> None:
    runner.downgrade("-1")
    runner.upgrade()
    held = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = :db")
    database = sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
    with pooled_engine.connect() as connection:
        assert connection.scalar(held, {"db": connection.scalar(database)}) == 0


def test_listener_polls_the_outbox_through_a_pooler(
    pooled: Settings, pooled_engine: sa.Engine
) -> None:
    nudged, stopped = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=listen, args=(pooled, ListenerNudges(nudged.set, None), stopped), daemon=True
    )
    thread.start()
    with pooled_engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=1, status="paid")])
    eventually(nudged.is_set, 5, "no nudge")
    stopped.set()
    thread.join(10)


def test_refusal_of_a_pooler_names_the_setting(settings: Settings) -> None:
    with running_pooler(settings.database) as url:
        refused = settings.model_copy(update={"database_url": url})
        with pytest.raises(sa.exc.OperationalError) as caught:
            make_engine(refused, "orderworks-test").connect()
        message = str(database_unavailable(caught.value, url))
    assert "set DB_POOLER=transaction" in message


def test_parameters_that_a_pooler_dropped_are_found(settings: Settings) -> None:
    with running_pooler(settings.database, IGNORED) as url:
        dropped = settings.model_copy(update={"database_url": url})
        engine = make_engine(dropped, "orderworks-test")
        with engine.connect() as connection:
            lost = parameters_lost(connection, dropped)
        engine.dispose()
    assert {"lock_timeout", "statement_timeout"} < set(lost)
