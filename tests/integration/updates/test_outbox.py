"""The outbox: an app's transaction and its updates stand or fall together, and each is applied once."""

import asyncio
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from orderworks.core.errors import InvalidUpdate
from orderworks.core.keys import update_nudge
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import OUTBOX
from orderworks.core.schema import parked_updates, update_outbox, update_shards
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.maintenance.sweep import find_lost_work
from orderworks.updates import outbox
from orderworks.updates.drain import Drain, DrainResult
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.outbox import OutboxSource
from orderworks.updates.stream import UpdateStream
from tests.support.processes import crash
from tests.support.types import AcceptUpdates, DrainAll, DrainOutbox, ReadRows, WriteRows

pytestmark = pytest.mark.usefixtures("two_orders")


PAID = OrderUpdate(order_id=2, status="paid")


def test_a_transaction_that_rolls_back_leaves_no_update(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    with engine.connect() as connection:
        assert outbox.enqueue(connection, [PAID]) == 1
        connection.rollback()
    assert drain_outbox() == DrainResult({}, more=False)
    assert rows()[2][1] == "new"


def test_a_transaction_that_commits_has_its_updates_applied_once(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID, OrderUpdate(order_id=1, total="5")])
    assert drain_outbox().verdicts == {"applied": 2}
    assert drain_outbox().verdicts == {}
    assert (rows()[2][1], rows()[1][2]) == ("paid", Decimal("5.00"))
    with engine.connect() as connection:
        account = sa.select(*update_shards.c["shard", "accepted", "applied"])
        assert connection.execute(account).all() == [(OUTBOX, 2, 2)]


def test_a_session_enqueues_with_its_own_transaction(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    with Session(engine) as session:
        outbox.enqueue(session, [OrderUpdate(order_id=1, status="paid")])
        session.rollback()
        outbox.enqueue(session, [PAID])
        session.commit()
    assert drain_outbox().verdicts == {"applied": 1}
    assert (rows()[1][1], rows()[2][1]) == ("new", "paid")


def test_async_connections_and_sessions_enqueue(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    async def enqueue() -> None:
        address = engine.url.set(drivername="postgresql+asyncpg")
        made = create_async_engine(address)
        async with made.begin() as connection:
            assert await outbox.enqueue(connection, [OrderUpdate(order_id=1, total="5.5")]) == 1
            assert await outbox.enqueue(connection, []) == 0
        async with AsyncSession(made) as session:
            await outbox.enqueue(session, [OrderUpdate(order_id=1, status="lost")])
            await session.rollback()
            await outbox.enqueue(session, [PAID])
            await session.commit()
        await made.dispose()

    asyncio.run(enqueue())
    assert drain_outbox().verdicts == {"applied": 2}
    assert (rows()[1][1:3], rows()[2][1]) == (("new", Decimal("5.50")), "paid")


def test_plain_sql_enqueues(engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO update_outbox (order_id, status, total, version) "
                "VALUES (2, E'a \"quoted\"\\nword', 7.5, 3)"
            )
        )
    assert drain_outbox().verdicts == {"applied": 1}
    assert rows()[2] == (1, 'a "quoted"\nword', Decimal("7.50"), 3)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ("(order_id, total) VALUES (0, 1)", "ck_update_outbox_order_id"),
        ("(order_id, customer_id) VALUES (1, 0)", "ck_update_outbox_customer_id"),
        ("(order_id, status) VALUES (1, '')", "ck_update_outbox_status"),
        ("(order_id, total) VALUES (1, -1)", "ck_update_outbox_total"),
        ("(order_id, total) VALUES (1, 'NaN')", "ck_update_outbox_total"),
        ("(order_id, total, version) VALUES (1, 1, -1)", "ck_update_outbox_version"),
        ("(order_id) VALUES (1)", "ck_update_outbox_says_something"),
    ],
)
def test_invalid_update_by_plain_sql_is_refused_by_constraint(
    engine: sa.Engine, values: str, constraint: str
) -> None:
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError, match=constraint):
        connection.execute(sa.text(f"INSERT INTO update_outbox {values}"))


def test_non_update_prevents_enqueueing_of_all(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(InvalidUpdate, match="dict is not an OrderUpdate"):
            outbox.enqueue(connection, [PAID, {"order_id": 1}])  # type: ignore[list-item]
        assert not outbox.waits(connection)


def test_updates_with_equal_timestamps_keep_their_order(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=2, total=each) for each in range(50)])
        # As if the clock had stood still.
        connection.execute(sa.update(update_outbox).values(enqueued_at=sa.func.now()))
    assert drain_outbox().verdicts == {"applied": 1, "superseded": 49}
    assert rows()[2][2] == Decimal("49.00")


def test_acceptance_order_is_commit_order(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    with engine.connect() as slow:
        outbox.enqueue(slow, [OrderUpdate(order_id=2, status="late")])
        with engine.begin() as quick:
            outbox.enqueue(quick, [OrderUpdate(order_id=2, status="early")])
        assert drain_outbox().verdicts == {"applied": 1}
        slow.commit()
    assert drain_outbox().verdicts == {"applied": 1}
    assert rows()[2][1] == "late"


def test_later_stream_update_wins_over_earlier_outbox_update(
    engine: sa.Engine,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    drain_outbox: DrainOutbox,
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=2, status="first")])
    accept([OrderUpdate(order_id=2, status="second")])
    drain()
    assert drain_outbox().verdicts == {"stale": 1}
    assert rows()[2][1] == "second"


def test_update_of_unknown_order_is_parked(
    engine: sa.Engine,
    rows: ReadRows,
    seed: WriteRows,
    drain_outbox: DrainOutbox,
    updates: UpdateStream,
    importer: Importer,
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=3, status="paid")])
    assert drain_outbox().verdicts == {"parked": 1}
    seed({3: (2, "new", Decimal("1.00"), 0)})
    with engine.begin() as connection:
        connection.execute(sa.update(parked_updates).values(next_attempt_at=sa.func.now()))
    forgotten = find_lost_work(engine, updates, importer)
    assert forgotten
    assert forgotten.shards == [OUTBOX]
    assert drain_outbox().verdicts == {"applied": 1}
    assert rows()[3][1] == "paid"


def test_sweep_finds_outbox_rows_without_a_nudge(
    engine: sa.Engine, updates: UpdateStream, importer: Importer, stream: Redis
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID])
    forgotten = find_lost_work(engine, updates, importer)
    assert forgotten
    assert forgotten.shards == [OUTBOX]
    assert stream.exists(update_nudge(OUTBOX)), "its message is on the way"
    again = find_lost_work(engine, updates, importer)
    assert again
    assert again.shards == []


def test_drain_killed_before_commit_leaves_the_outbox_unchanged(
    engine: sa.Engine,
    rows: ReadRows,
    drain_outbox: DrainOutbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID])

    with monkeypatch.context() as patch:
        patch.setattr(Drain, "_count", crash)
        with pytest.raises(KeyboardInterrupt):
            drain_outbox()
    assert rows()[2][1] == "new", "the fault happened: nothing is applied"
    assert drain_outbox().verdicts == {"applied": 1}


def test_outbox_is_drained_while_redis_is_unavailable(
    engine: sa.Engine, rows: ReadRows, settings: Settings
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID])
    unreachable = make_redis("redis://127.0.0.1:1/0", timeout=1)
    backlog = OutboxSource(UpdateStream(unreachable, 2, 1000))
    assert Drain(engine, backlog, unreachable, settings).run().verdicts == {"applied": 1}
    assert rows()[2][1] == "paid"


def test_locked_row_does_not_block_the_drain(engine: sa.Engine, drain_outbox: DrainOutbox) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID])
    with engine.connect() as other:
        other.execute(sa.select(update_outbox).with_for_update())
        assert drain_outbox() == DrainResult({}, more=False)
    assert drain_outbox().verdicts == {"applied": 1}


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "9999-01-01"])
def test_impossible_enqueued_at_does_not_stop_the_drain(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox, moment: str
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [PAID])
        connection.execute(sa.update(update_outbox).values(enqueued_at=sa.text(f"'{moment}'")))
    drain_outbox()
    with engine.begin() as connection:
        outbox.enqueue(connection, [OrderUpdate(order_id=2, status="sent")])
    assert drain_outbox().verdicts == {"applied": 1}
    assert rows()[2][1] == "sent"
