"""An update that fails for a time is set aside; all others of its batch are applied within seconds."""

import time
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.locks import Bounds
from orderworks.core.schema import dead_updates, orders, parked_updates, update_shards
from orderworks.updates import drain as drains
from orderworks.updates import parking
from orderworks.updates.entries import AcceptedUpdate
from orderworks.updates.messages import OrderUpdate
from tests.support.parked import make_parked_due
from tests.support.types import AcceptUpdates, DrainAll, ReadRows, WriteRows

ORDERS = range(1, 201)

FAILURES = {
    "serialization": "RAISE EXCEPTION 'try again' USING ERRCODE = '40001'",
    "lock": "RAISE EXCEPTION 'locked' USING ERRCODE = '55P03'",
    "timeout": "PERFORM pg_sleep(60)",
    "lost session": "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1)",
    "broken trigger": "PERFORM 1 FROM no_such_table",
}


def fail(engine: sa.Engine, action: str, when: str = "NEW.status = 'bad'") -> None:
    """Have each write of an order with the status `bad` do this."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN IF {when} THEN {action}; END IF; RETURN NEW; END $$"
            )
        )
        connection.execute(
            sa.text(
                "CREATE OR REPLACE TRIGGER fail BEFORE INSERT OR UPDATE ON orders "
                "FOR EACH ROW EXECUTE FUNCTION fail()"
            )
        )


@pytest.fixture(autouse=True)
def orders_exist(seed: WriteRows) -> None:
    """Orders of one customer."""
    seed({key: (1, "new", Decimal("1.00"), 0) for key in ORDERS})


@pytest.fixture(autouse=True)
def short_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements may run for half a second."""
    for name in ("AT_ONCE", "CAREFULLY"):
        monkeypatch.setattr(drains, name, Bounds(lock_wait=100, run_time=500))


def updates_with_one_bad() -> list[OrderUpdate]:
    return [
        OrderUpdate(order_id=key, status="bad" if key == 70 else "paid", total=2) for key in ORDERS
    ]


@pytest.mark.parametrize("action", FAILURES.values(), ids=FAILURES)
def test_the_failing_update_is_set_aside_and_the_others_are_applied(
    engine: sa.Engine, rows: ReadRows, accept: AcceptUpdates, drain: DrainAll, action: str
) -> None:
    fail(engine, action)
    accept([*updates_with_one_bad(), OrderUpdate(order_id=80, status="shipped")])
    began = time.monotonic()
    drain()
    assert time.monotonic() - began < 15
    assert {key for key, row in rows().items() if row[1] == "new"} == {70}
    with engine.connect() as connection:
        row = connection.execute(sa.select(parked_updates)).one()
    assert (row.order_id, row.cause) == (70, "error")
    assert row.reason

    fail(engine, "NULL")
    make_parked_due(engine)
    drain()
    drain()
    assert rows()[70][1] == "bad"
    with engine.connect() as connection:
        sums = [
            sa.func.sum(update_shards.c[name]) for name in ("accepted", "applied", "superseded")
        ]
        assert connection.execute(sa.select(*sums)).one() == (201, 200, 1)


@pytest.mark.parametrize("name", ["serialization", "lost session"])
def test_an_update_that_fails_for_too_long_becomes_a_dead_letter(
    engine: sa.Engine,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    fail(engine, FAILURES[name])
    accept([OrderUpdate(order_id=70, status="bad"), OrderUpdate(order_id=72, status="paid")])
    drain()
    make_parked_due(engine)
    drain()
    with engine.connect() as connection:
        row = connection.execute(sa.select(parked_updates)).one()
    assert (row.order_id, row.attempts) == (70, 2)
    monkeypatch.setattr(parking, "ERROR_PATIENCE", 0.0)
    make_parked_due(engine)
    drain()
    with engine.connect() as connection:
        dead = connection.execute(sa.select(dead_updates)).one()
        assert not connection.execute(sa.select(parked_updates)).all()
    assert ("try again" if name == "serialization" else "ended the session") in dead.reason
    assert rows()[72][1] == "paid"


def test_other_updates_of_the_order_are_applied(
    engine: sa.Engine, rows: ReadRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    fail(engine, FAILURES["serialization"])
    accept([OrderUpdate(order_id=70, status="bad"), OrderUpdate(order_id=70, total=9)])
    drain()
    accept([OrderUpdate(order_id=70, customer_id=1)])
    drain()
    make_parked_due(engine)
    drain()
    assert rows()[70][1:3] == ("new", Decimal("9.00"))
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(parked_updates)) == 1


def test_a_deferred_constraint_refuses_one_update_alone(
    engine: sa.Engine, rows: ReadRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN IF NEW.status = 'bad' THEN RAISE EXCEPTION 'never'; END IF; "
                "RETURN NULL; END $$"
            )
        )
        connection.execute(
            sa.text(
                "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON orders "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    accept(updates_with_one_bad())
    drain()
    assert {key for key, row in rows().items() if row[1] == "new"} == {70}
    with engine.connect() as connection:
        assert connection.scalar(sa.select(dead_updates.c.reason)) == "never"


def test_many_parked_updates_of_one_order_are_merged(
    engine: sa.Engine,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "MAX_OF_ORDER", 50)
    accept([OrderUpdate(order_id=404, total=7)])
    accept([OrderUpdate(order_id=404, status=f"s{number}") for number in range(120)])
    drain()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(parked_updates)) == 2
        sums = [sa.func.sum(update_shards.c[name]) for name in ("accepted", "superseded")]
        assert connection.execute(sa.select(*sums)).one() == (121, 119)
    with engine.begin() as connection:
        connection.execute(sa.insert(orders).values(id=404, customer_id=1, total=1))
    make_parked_due(engine)
    drain()
    assert rows()[404][1:3] == ("s119", Decimal("7.00"))


def test_retries_of_many_parked_updates_leave_room_for_others(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept([OrderUpdate(order_id=1000 + 2 * (n % 10), status=f"s{n}") for n in range(200)])
    drain()
    make_parked_due(engine)
    tried: list[int] = []
    settle = parking.settle_parked

    def count(connection: sa.Connection, shard: int, pending: list[AcceptedUpdate]) -> None:
        tried.append(len(pending))
        settle(connection, shard, pending)

    monkeypatch.setattr(parking, "settle_parked", count)
    monkeypatch.setattr(drains, "FIRST_BATCH", 40)
    accept([OrderUpdate(order_id=2, status="paid")])
    drain(update_batch=40)
    assert tried[0] == 41, "two orders of twenty updates each, and the new one"


def test_an_update_that_cannot_create_its_order_is_parked_without_the_others(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll, rows: ReadRows
) -> None:
    accept([OrderUpdate(order_id=404, total=7)])
    drain()
    accept([OrderUpdate(order_id=404, customer_id=1)])
    drain()
    assert 404 not in rows()
    make_parked_due(engine)
    drain()
    assert rows()[404][:3] == (1, "new", Decimal("7.00")), "the next attempt has both"
