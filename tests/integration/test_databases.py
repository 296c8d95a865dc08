"""Databases that tests use one after another: a cleaned one is like a new one."""

from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.database import database_address
from orderworks.core.schema import metadata
from tests.support.databases import TEMPLATE, Databases

ROWS = (
    "INSERT INTO customers (id, name) SELECT number, 'Ada' FROM generate_series(1, 100) number",
    "INSERT INTO orders (id, customer_id, total) SELECT id, id, 5 FROM customers",
)
OTHER_ROWS_THAN_THE_MIGRATIONS = (
    "UPDATE report_windows SET first_day = now()",
    "INSERT INTO uncounted_statuses VALUES ('paid')",
    "DELETE FROM uncounted_statuses WHERE status = 'cancelled'",
)

THIS = "SELECT datname, oid FROM pg_database WHERE datname = current_database()"
RELATIONS = "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'S') AND oid >= 16384"
FOREIGN_LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run SQL in one transaction; the rows of the last statement."""
    engine = sa.create_engine(database_address(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        results = [connection.execute(sa.text(each)) for each in statements]
        return [tuple(row) for row in results[-1]] if results[-1].returns_rows else []


def contents(databases: Databases, name: str) -> dict[str, list[str]]:
    """Rows of all tables, and the states of all sequences."""
    engine = sa.create_engine(databases.admin.url.set(database=name), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return {
            relation: sorted(map(str, connection.execute(sa.text(f"SELECT * FROM {relation}"))))
            for relation in connection.scalars(sa.text(RELATIONS)).all()
        }


def test_a_cleaned_database_has_the_rows_and_sequences_of_a_new_one(databases: Databases) -> None:
    template = contents(databases, TEMPLATE)
    assert metadata.tables.keys() < template.keys()
    with databases.lent() as url:
        name, oid = run(url, THIS)[0]
        assert contents(databases, str(name)) == template
        run(url, *ROWS, *OTHER_ROWS_THAN_THE_MIGRATIONS)
        assert contents(databases, str(name)) != template
    with databases.lent() as url:
        other_name, same_oid = run(url, THIS)[0]
        assert (other_name != name, same_oid) == (True, oid)
        assert contents(databases, str(other_name)) == template


def test_no_session_and_no_lock_of_a_test_remains(databases: Databases) -> None:
    with databases.lent() as url:
        engine = sa.create_engine(database_address(url))
        connection = engine.connect()
        connection.execute(sa.text("SELECT pg_advisory_lock(7)"))
        connection.execute(sa.text("LOCK TABLE orders"))
    with databases.lent() as url:
        assert run(url, FOREIGN_LOCKS) == [(0,)]
    connection.invalidate()
    engine.dispose()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ADD CHECK (status <> 'cursed')",
        "ALTER TABLE orders DISABLE TRIGGER USER",
        "ALTER TABLE orders ALTER COLUMN total SET DEFAULT 1",
        "DROP TABLE import_rejects",
        "CREATE TABLE mine AS SELECT 1 AS id",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON orders (status)",
        "GRANT SELECT ON orders TO public",
        "ANALYZE orders",
    ],
)
def test_a_database_with_another_schema_is_not_used_again(
    databases: Databases, change: str
) -> None:
    with databases.lent() as url:
        _name, oid = run(url, THIS)[0]
        run(url, *ROWS, change)
    with databases.lent() as url:
        _name, other_oid = run(url, THIS)[0]
        assert other_oid != oid
