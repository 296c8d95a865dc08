"""The change log: the rows that triggers write, their size, and those that a fold takes."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.changelog import touched_customers
from orderworks.reports.fold import fold_batch
from tests.support.celery_inspection import run

LARGE = 25_000
BULK = f"""
    INSERT INTO orders (id, customer_id, status, total)
    SELECT key, key % 30 + 1, CASE WHEN key % 10 = 0 THEN 'cancelled' ELSE 'paid' END, key
    FROM generate_series(1, {LARGE}) AS key
"""
MARCH = "TIMESTAMPTZ '2026-03-09 23:00Z'"


@pytest.fixture
def empty_log(engine: sa.Engine) -> None:
    """Create thirty customers, two orders of the first ones, and an empty log."""
    run(
        engine,
        "INSERT INTO customers (id, name) SELECT key, 'Nr. ' || key FROM generate_series(1, 30) AS key",
        f"INSERT INTO orders (id, customer_id, status, total, created_at) VALUES "
        f"(1, 1, 'paid', 5, {MARCH}), (2, 2, 'cancelled', 7, {MARCH})",
        "TRUNCATE change_log",
    )


def rows(engine: sa.Engine, query: str) -> Sequence[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


ENTRIES = "SELECT customer_id, day::text, orders, total FROM customer_changes ORDER BY 1, 3, 4"


@pytest.mark.parametrize(
    ("statement", "logged"),
    [
        (
            f"INSERT INTO orders (id, customer_id, total, created_at) VALUES (3, 3, 2, {MARCH})",
            [(3, "2026-03-09", 1, 2)],
        ),
        (
            "UPDATE orders SET total = 6 WHERE id = 1",
            [(1, "2026-03-09", -1, -5), (1, "2026-03-09", 1, 6)],
        ),
        (
            "UPDATE orders SET customer_id = 4, created_at = '2026-03-10', status = 'paid' WHERE id = 2",
            [(2, "2026-03-09", 0, 0), (4, "2026-03-10", 1, 7)],
        ),
        ("DELETE FROM orders", [(1, "2026-03-09", -1, -5), (2, "2026-03-09", 0, 0)]),
        ("TRUNCATE orders", [(1, "2026-03-09", -1, -5), (2, "2026-03-09", 0, 0)]),
        ("UPDATE orders SET total = 1 WHERE id = 99", []),
        ("UPDATE customers SET name = 'Ada' WHERE id = 9", [(9, None, 0, 0)]),
        ("DELETE FROM customers WHERE id = 9", [(9, None, 0, 0)]),
    ],
)
def test_every_insert_update_and_delete_is_logged(
    engine: sa.Engine, empty_log: None, statement: str, logged: list[tuple[object, ...]]
) -> None:
    run(engine, statement)
    assert rows(engine, ENTRIES) == logged


@pytest.mark.parametrize("step", [1, 3])
def test_large_statement_is_logged_in_several_rows(
    engine: sa.Engine, empty_log: None, step: int
) -> None:
    run(
        engine,
        "TRUNCATE orders",
        "TRUNCATE change_log",
        BULK.replace("SELECT key,", f"SELECT key * {step},"),
    )
    parts = [entries for (entries,) in rows(engine, "SELECT entries FROM change_log")]
    assert sum(parts) == LARGE
    assert len(parts) == 3
    assert max(parts) < 10_000
    counted = (
        "SELECT customer_id, count(*), sum(total) FROM orders WHERE status = 'paid' GROUP BY 1"
    )
    logged = (
        "SELECT customer_id, sum(orders), sum(total) FROM customer_changes "
        "GROUP BY 1 HAVING sum(orders) > 0"
    )
    assert sorted(rows(engine, logged)) == sorted(rows(engine, counted))


def test_touched_customers_are_those_of_this_transaction_only(
    engine: sa.Engine, empty_log: None
) -> None:
    run(engine, "UPDATE orders SET total = total + 1 WHERE id = 1")
    with engine.begin() as connection:
        assert touched_customers(connection) == []
        connection.execute(sa.text("UPDATE orders SET customer_id = 5 WHERE id = 2"))
        connection.execute(sa.text("UPDATE customers SET name = 'Ada' WHERE id IN (5, 9)"))
        assert sorted(touched_customers(connection)) == [2, 5, 9]


def test_fold_takes_oldest_rows_up_to_its_limit(
    engine: sa.Engine, empty_log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks.reports.fold.MAX_FOLD_ENTRIES", 15)
    for first in (1, 11, 21):
        between = f"WHERE id BETWEEN {first} AND {first + 9}"
        run(engine, f"UPDATE customers SET name = name || '!' {between}")
    with engine.begin() as connection:
        before, after = fold_batch(connection), fold_batch(connection)
    assert sorted(before.customers) == [*range(1, 21)]
    assert sorted(after.customers) == [*range(21, 31)]
    assert (before.is_last, after.is_last) == (False, True)
