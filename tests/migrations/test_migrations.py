"""The schema: every revision can be undone, and the tables of the code equal the migrated ones."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from migrations import runner
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import compute, published_report
from orderworks.reports.windows import Window
from orderworks_app.embedded.binaries import postgresql_binaries
from tests.support.celery_inspection import run
from tests.support.databases import Databases
from tests.support.processes import eventually

PG_DUMP = postgresql_binaries(None) / "pg_dump"


@pytest.fixture
def empty(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database without a schema, which DATABASE_URL names."""
    url = databases.make("empty")
    monkeypatch.setenv("DATABASE_URL", url)
    yield url
    databases.drop("empty")


def dump(url: str) -> str:
    """Return the schema as SQL, without Alembic's own table and the random marks of pg_dump."""
    parts = urlsplit(url)
    done = subprocess.run(
        [PG_DUMP, "--schema-only", "--no-owner", "--exclude-table=alembic_version", url],
        capture_output=True,
        text=True,
        check=True,
        env={"PGPASSWORD": parts.password or ""},
    )
    return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)


def test_up_down_up_gives_an_equal_schema(empty: str) -> None:
    runner.upgrade()
    first = dump(empty)
    runner.downgrade("base")
    runner.upgrade()
    assert "CREATE TABLE public.orders" in first
    assert dump(empty) == first


def test_each_downgrade_restores_the_previous_schema(empty: str) -> None:
    script = ScriptDirectory.from_config(runner.config())
    revisions = [each.revision for each in script.walk_revisions()][::-1]
    assert revisions[-1] == runner.head()
    before = []
    for revision in revisions:
        before.append(dump(empty))
        runner.upgrade(revision)
    for schema in reversed(before):
        runner.downgrade("-1")
        assert dump(empty) == schema


def test_downgrade_to_base_leaves_an_empty_schema(empty: str) -> None:
    nothing = dump(empty)
    runner.upgrade()
    runner.downgrade("base")
    assert dump(empty) == nothing


def test_code_schema_equals_migrated_schema(settings: Settings) -> None:
    assert settings.database
    runner.check()


def test_schema_drift_is_detected(settings: Settings, engine: sa.Engine) -> None:
    assert settings.database
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD COLUMN stray integer"))
    with pytest.raises(Exception, match="stray"):
        runner.check()


def test_orders_older_than_the_change_log_are_counted(empty: str) -> None:
    runner.upgrade("0005")
    engine = sa.create_engine(empty.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO customers (id, name) VALUES (1, 'Ada')"))
        connection.execute(
            sa.text(
                "INSERT INTO orders (id, customer_id, total, status) "
                "VALUES (1, 1, 10, 'paid'), (2, 1, 5, 'paid'), (3, 1, 99, 'cancelled')"
            )
        )
    runner.upgrade()
    with engine.connect() as connection:
        logged = connection.execute(sa.text("SELECT sum(orders), sum(total) FROM customer_changes"))
        assert logged.one() == (2, 15)
    engine.dispose()


def test_pending_log_entries_are_packed_and_unpacked(empty: str) -> None:
    runner.upgrade("0013")
    engine = sa.create_engine(empty.replace("postgresql://", "postgresql+psycopg2://"))
    run(
        engine,
        "INSERT INTO customers (id, name) SELECT key, 'Customer ' || key FROM generate_series(1, 9) key",
        "INSERT INTO orders (id, customer_id, total) SELECT key, key % 9 + 1, key "
        "FROM generate_series(1, 25000) key",
        "UPDATE customers SET name = 'Ada' WHERE id < 3",
    )
    query = sa.text(
        "SELECT xact, customer_id, day, orders, total, stale_since FROM customer_changes "
        "ORDER BY xact, customer_id, day NULLS FIRST, stale_since"
    )

    def logged() -> list[sa.Row[Any]]:
        with engine.connect() as connection:
            return [*connection.execute(query)]

    before = logged()
    assert len(before) > 10
    runner.upgrade()
    assert logged() == before
    runner.downgrade("0013")
    assert logged() == before
    engine.dispose()


def is_lock_awaited(engine: sa.Engine) -> bool:
    """Return whether a session of this database waits for a table that another one has locked."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'relation' AND NOT granted"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(waiting)))


@pytest.mark.parametrize(("before", "after"), [("0013", "0014"), ("0014", "0013")])
def test_entries_folded_during_migration_are_not_packed_again(
    empty: str, before: str, after: str
) -> None:
    runner.upgrade(before)
    engine = sa.create_engine(empty.replace("postgresql://", "postgresql+psycopg2://"))
    log = "customer_changes" if before == "0013" else "change_log"
    run(
        engine,
        "INSERT INTO customers (id, name) VALUES (1, 'Ada')",
        "INSERT INTO orders (id, customer_id, total) VALUES (1, 1, 5)",
    )
    migrate = runner.upgrade if after > before else runner.downgrade
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as fold:
            fold.execute(sa.text(f"DELETE FROM {log}"))
            migrated = pool.submit(migrate, after)
            eventually(lambda: is_lock_awaited(engine), 10, "the migration waits for the fold")
        migrated.result(20)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM customer_changes")) == 0
    engine.dispose()


def test_old_rollups_get_ranks_and_windows_by_the_first_refresh(cache: Redis, empty: str) -> None:
    runner.upgrade("0008")
    engine = sa.create_engine(empty.replace("postgresql://", "postgresql+psycopg2://"))
    run(
        engine,
        "INSERT INTO customers (id, name) SELECT key, 'Customer ' || key FROM generate_series(1, 9) key",
        "INSERT INTO orders (id, customer_id, total, created_at) "
        "SELECT key, key % 9 + 1, key, now() - key * interval '1 day' FROM generate_series(1, 400) key",
        # A date in the far future, as some applications use for open orders.
        "INSERT INTO orders (id, customer_id, total, created_at) VALUES (401, 3, 7, '9999-12-31')",
        "INSERT INTO customer_daily SELECT customer_id, day, orders, total FROM customer_changes "
        "WHERE day IS NOT NULL",
        "INSERT INTO customer_totals SELECT customer_id, sum(orders), sum(total) "
        "FROM customer_daily GROUP BY customer_id",
        "TRUNCATE customer_changes",
    )
    runner.upgrade()
    assert refresh(engine, cache, lambda _ids: None, depth=5)
    for window in Window:
        published = published_report(cache, window)
        assert published is not None
        assert published.rows == compute(engine, window, 5).rows
    engine.dispose()
