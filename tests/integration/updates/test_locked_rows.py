"""A lock that another session holds makes only the updates wait that need it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from orderworks.core.schema import dead_updates, parked_updates
from orderworks.updates.messages import OrderUpdate
from tests.support.chunk_locks import held_by
from tests.support.parked import make_parked_due
from tests.support.types import AcceptUpdates, DrainAll, ReadRows, WriteRows

LOCK_OF_2 = "UPDATE orders SET status = 'lunch' WHERE id = 2"


@pytest.fixture(autouse=True)
def ten_orders(seed: WriteRows) -> None:
    """Ten orders of three customers."""
    seed({key: (key % 3 + 1, "new", Decimal("1.00"), 0) for key in range(1, 11)})


def parked(engine: sa.Engine) -> dict[int, tuple[str, str]]:
    """The cause and the reason of the parked updates, by order."""
    query = sa.select(*parked_updates.c["order_id", "cause", "reason"])
    with engine.connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Check that the block takes no longer."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.mark.parametrize(
    ("lock", "waiting"),
    [
        (LOCK_OF_2, {2}),
        ("SELECT FROM orders WHERE id IN (2, 4) FOR UPDATE", {2, 4}),
        ("DELETE FROM orders WHERE id = 2", {2}),
        ("SELECT FROM customers WHERE id = 3 FOR UPDATE", {6, 9}),
        ("LOCK TABLE customers IN EXCLUSIVE MODE", {6, 9}),
        ("LOCK TABLE customers", {6, 9}),
        ("INSERT INTO orders (id, customer_id, total) VALUES (20, 1, 1)", {20}),
    ],
)
def test_a_lock_delays_only_the_updates_that_need_it(
    engine: sa.Engine,
    other: sa.Engine,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    lock: str,
    waiting: set[int],
) -> None:
    updates = [OrderUpdate(order_id=key, status="paid") for key in (1, 2, 3, 4, 7, 8)]
    updates += [OrderUpdate(order_id=key, status="paid", customer_id=3) for key in (6, 9)]
    updates += [OrderUpdate(order_id=20, customer_id=1, total=1, status="paid")]
    if "customers" in lock:
        updates.pop()
    with held_by(other, lock):
        accept(updates)
        with at_most(10):
            drain()
        found = parked(engine)
        assert set(found) == waiting
        assert {cause for cause, _ in found.values()} == {"lock"}
        assert all(
            "application psql-lunch, in a transaction since 2" in each[1] for each in found.values()
        )
        if "customers" not in lock:
            assert {key for key, row in rows().items() if row[1] == "paid"} == {
                each.order_id for each in updates
            } - waiting
    make_parked_due(engine)
    drain()
    assert {key for key, row in rows().items() if row[1] == "paid"} == {
        each.order_id for each in updates
    }
    assert not parked(engine)


def test_later_updates_of_a_locked_order_wait_behind_the_first(
    engine: sa.Engine, other: sa.Engine, rows: ReadRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    with held_by(other, LOCK_OF_2):
        for status in ("paid", "packed", "shipped"):
            accept(
                [
                    OrderUpdate(order_id=2, status=status, version=5),
                    OrderUpdate(order_id=4, status=status),
                ]
            )
            with at_most(5):
                drain()
            assert rows()[4][1] == status
    make_parked_due(engine)
    drain()
    assert rows()[2][1] == "shipped", "at equal versions the last one counts"


def test_an_update_that_waits_for_a_lock_never_becomes_a_dead_letter(
    engine: sa.Engine, other: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    with held_by(other, LOCK_OF_2):
        accept([OrderUpdate(order_id=2, status="paid")])
        drain(unknown_order_patience=0)
        for _ in range(3):
            make_parked_due(engine)
            drain(unknown_order_patience=0)
        with engine.connect() as connection:
            row = connection.execute(sa.select(parked_updates)).one()
        assert (row.cause, row.attempts) == ("lock", 4)
        pause = row.next_attempt_at.timestamp() - time.time()
        assert pause <= 5


def test_the_patience_for_an_unknown_order_begins_after_the_lock(
    engine: sa.Engine, other: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    with other.connect() as holder:
        holder.execute(sa.text("DELETE FROM orders WHERE id = 2"))
        accept([OrderUpdate(order_id=2, status="paid")])
        drain()
        with engine.begin() as connection:
            long_ago = sa.func.now() - sa.text("interval '1 hour'")
            connection.execute(sa.update(parked_updates).values(first_seen=long_ago))
        holder.commit()
    make_parked_due(engine)
    drain()
    assert parked(engine) == {2: ("unknown", "order 2 does not exist")}
    make_parked_due(engine)
    drain(unknown_order_patience=0)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(dead_updates.c.reason)) == "order 2 does not exist"


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_updates_stay_in_the_stream_while_the_table_of_orders_is_locked(
    engine: sa.Engine,
    other: sa.Engine,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    mode: str,
) -> None:
    with held_by(other, f"LOCK TABLE orders IN {mode} MODE"), capture_logs() as logs:
        accept([OrderUpdate(order_id=2, status="paid")])
        with at_most(5):
            drain()
        assert not parked(engine)
    waits = next(each for each in logs if each["event"] == "updates_wait_for_table")
    assert waits["application"] == "psql-lunch"
    drain()
    assert rows()[2][1] == "paid"


def test_the_log_names_the_session_for_which_updates_are_set_aside(
    other: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    with held_by(other, LOCK_OF_2) as holder, capture_logs() as logs:
        pid = holder.scalar(sa.text("SELECT pg_backend_pid()"))
        accept([OrderUpdate(order_id=2, status="paid"), OrderUpdate(order_id=2, total=2)])
        drain()
    (event,) = [each for each in logs if each["event"] == "updates_set_aside"]
    assert (event["shard"], event["count"]) == (0, 2)
    assert (event["pid"], event["application"]) == (pid, "psql-lunch")
    assert event["seconds"] >= 0


def test_a_batch_without_locks_takes_no_statement_more(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    accept([OrderUpdate(order_id=key, status="paid") for key in (2, 4, 6)])
    statements: list[str] = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda *each: statements.append(each[2].split()[0])
    )
    drain()
    # The lock, the counters of the shard, the batch, its counts, its customers.
    assert statements[:5] == ["SELECT", "SELECT", "WITH", "INSERT", "SELECT"]
