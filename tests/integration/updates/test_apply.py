"""Application of updates: in any batches, the effect is that of one by one, guarded by version."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from orderworks.cache import invalidation
from orderworks.core.locks import Lock
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import customers, dead_updates, orders, parked_updates, update_shards
from orderworks.core.settings import Settings
from orderworks.core.versions import version_of
from orderworks.updates.apply import apply_updates
from orderworks.updates.drain import Drain, DrainResult
from orderworks.updates.entries import ParsedUpdate
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream
from tests.support.field_fold import FieldFold
from tests.support.oracle import FIELDS, given_fields
from tests.support.parked import make_parked_due
from tests.support.processes import crash
from tests.support.servers import running_valkey
from tests.support.types import AcceptUpdates, DrainAll, OrderRows, ReadRows, WriteRows

SEEDED: OrderRows = {
    key: (key % 3 + 1, "new", Decimal(f"{key}.00"), 5 * (key % 2)) for key in range(1, 9)
}

some_updates = st.lists(
    st.builds(
        lambda order_id, total, status, customer_id, version: OrderUpdate(
            order_id=order_id,
            total=total,
            status=status,
            customer_id=customer_id,
            version=version,
        ),
        order_id=st.integers(1, 10),  # 9 and 10 do not exist
        total=st.integers(0, 99),
        status=st.sampled_from([None, "paid", "cancelled"]),
        customer_id=st.sampled_from([None, None, None, 1, 2, 3]),
        version=st.integers(0, 12),
    ),
    max_size=25,
)


def one_by_one(rows: OrderRows, updates: Sequence[OrderUpdate]) -> OrderRows:
    """The oracle: fold the updates of the orders that exist one by one, by field."""
    folds = {
        key: FieldFold(dict(zip(FIELDS, row, strict=False)), row[3]) for key, row in rows.items()
    }
    for update in updates:
        if update.order_id in folds:
            folds[update.order_id].take(update.own_version or 0, given_fields(update))
    return {
        key: (fold["customer_id"], fold["status"], fold["total"], fold.version)
        for key, fold in folds.items()
    }


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(updates=some_updates, sizes=st.lists(st.integers(1, 10), min_size=25, max_size=25))
def test_any_batching_equals_sequential_application(
    engine: sa.Engine, rows: ReadRows, updates: list[OrderUpdate], sizes: list[int]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE orders, customers, parked_updates"))
        connection.execute(sa.insert(customers), [{"id": key, "name": "x"} for key in (1, 2, 3)])
        names = ("id", "customer_id", "status", "total", "version")
        seeded = [dict(zip(names, (key, *row), strict=True)) for key, row in SEEDED.items()]
        connection.execute(sa.insert(orders), seeded)
    waiting = [
        ParsedUpdate(
            entry=number, payload=update.encode(), update=update, version=update.own_version or 0
        )
        for number, update in enumerate(updates)
    ]
    while waiting:
        size = sizes.pop()
        with engine.begin() as connection:
            apply_updates(connection, waiting[:size])
        waiting = waiting[size:]
    # What an update to an unknown order leaves parked is not applied here, nor in the oracle.
    known = {key: row for key, row in one_by_one(SEEDED, updates).items() if key in SEEDED}
    assert {key: row for key, row in rows().items() if key in SEEDED} == known


def test_last_update_wins_and_missing_fields_are_kept(
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})
    ids = accept(
        [
            OrderUpdate(order_id=1, total="2", status="paid"),
            OrderUpdate(order_id=1, status="shipped"),
        ]
    )
    drain()
    milliseconds, sequence = map(int, ids[-1].split("-"))
    assert rows() == {1: (1, "shipped", Decimal("2.00"), milliseconds << 20 | sequence)}


def test_every_accepted_update_is_counted_once(
    engine: sa.Engine, seed: WriteRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 10)})
    accept(
        [
            OrderUpdate(order_id=1, total="2", version=9),
            OrderUpdate(order_id=1, total="1", version=10),
            OrderUpdate(order_id=1, total="3", version=11),
            OrderUpdate(order_id=1, total="4", version=12),
            OrderUpdate(order_id=1, total="4", version=12),
            OrderUpdate(order_id=7, total="4"),
        ]
    )
    drain(unknown_order_patience=0)
    names = ("accepted", "applied", "superseded", "stale", "duplicate", "dead")
    sums = [sa.func.sum(update_shards.c[name]) for name in names]
    with engine.connect() as connection:
        counted = dict(zip(names, connection.execute(sa.select(*sums)).one(), strict=True))
        parked = connection.scalar(sa.select(sa.func.count()).select_from(parked_updates))
    assert counted == {
        "accepted": 6,
        "applied": 1,
        "superseded": 1,
        "stale": 1,
        "duplicate": 2,
        "dead": 0,
    }
    assert parked == 1


def test_redelivered_committed_entry_is_neither_applied_nor_counted_twice(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    stream: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, total="2"), OrderUpdate(order_id=99, total="1")])

    with monkeypatch.context() as patch:
        patch.setattr(UpdateStream, "trim", crash)
        with pytest.raises(KeyboardInterrupt):
            drain()
    first = rows()
    assert stream.xlen("orders:updates:{0}") == 1, "the fault happened: the entry is still there"
    drain()
    assert rows() == first
    with engine.connect() as connection:
        query = sa.select(*update_shards.c["shard", "accepted", "applied"])
        assert sorted(connection.execute(query)) == [(0, 1, 1), (1, 1, 0)]


def test_update_is_parked_until_its_order_exists(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    accept([OrderUpdate(order_id=3, status="paid")])
    drain()
    seed({3: (1, "new", Decimal("1.00"), 0)})
    make_parked_due(engine)
    drain()
    assert rows()[3][1] == "paid"
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(parked_updates)) == 0


def test_entry_both_parked_and_in_the_stream_is_one_update(
    engine: sa.Engine,
    accept: AcceptUpdates,
    drain: DrainAll,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept([OrderUpdate(order_id=2, customer_id=404)])

    with monkeypatch.context() as patch:
        patch.setattr(UpdateStream, "trim", crash)
        with pytest.raises(KeyboardInterrupt):
            drain()
    make_parked_due(engine)
    drain()
    with engine.connect() as connection:
        assert connection.execute(sa.select(parked_updates.c["attempts"])).scalars().all() == [2]


def test_parked_update_is_dead_lettered_after_its_patience(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    accept([OrderUpdate(order_id=3, status="paid")])
    drain()
    make_parked_due(engine)
    drain(unknown_order_patience=0)
    with engine.connect() as connection:
        dead = connection.execute(sa.select(dead_updates)).one()
    assert dead.reason == "order 3 does not exist"
    assert bytes(dead.payload) == b'{"order_id":3,"status":"paid"}'


def test_an_order_is_created_when_customer_and_total_are_given(
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=50, customer_id=1), OrderUpdate(order_id=50, total="7.5")])
    drain()
    assert rows()[50][:3] == (1, "new", Decimal("7.50"))


def test_update_refused_by_the_database_is_dead_lettered_alone(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({key: (1, "new", Decimal("1.00"), 0) for key in range(1, 41)})
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (status <> 'cursed')"))
    accept(
        [
            OrderUpdate(order_id=key, status="cursed" if key == 20 else "paid")
            for key in range(1, 41)
        ]
    )
    drain()
    assert [key for key, row in rows().items() if row[1] == "new"] == [20]
    with engine.connect() as connection:
        assert (
            "violates check constraint" in connection.execute(sa.select(dead_updates)).one().reason
        )


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        (OrderUpdate(order_id=2, status="cursed"), OrderUpdate(order_id=2, total=5)),
        (
            OrderUpdate(order_id=2, status="cursed", version=10),
            OrderUpdate(order_id=2, total=5, version=7),
        ),
    ],
)
def test_valid_update_is_applied_despite_an_invalid_one_of_its_order(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    bad: OrderUpdate,
    good: OrderUpdate,
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (status <> 'cursed')"))
    accept([bad, good])
    assert drain()[0].verdicts == {"dead": 1, "applied": 1}
    assert rows()[2][1:3] == ("new", Decimal("5.00"))


def test_a_parked_update_is_not_overtaken_by_a_newer_one_of_its_order(
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    drain()
    seed({2: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, total=11)])
    assert drain()[0].verdicts == {"superseded": 1, "applied": 1}
    assert rows()[2][1:3] == ("paid", Decimal("11.00"))


def test_an_older_update_creates_the_order_that_newer_ones_wait_for(
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, status="paid", version=9)])
    assert drain()[0].verdicts == {"parked": 1}
    accept([OrderUpdate(order_id=2, customer_id=1, total=7, version=5)])
    assert drain()[0].verdicts == {"superseded": 1, "applied": 1}
    assert rows()[2] == (1, "paid", Decimal("7.00"), 9)


def test_a_parked_update_is_not_overtaken_by_a_younger_parked_one_that_is_due(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    accept([OrderUpdate(order_id=2, total=11), OrderUpdate(order_id=2, status="paid")])
    drain()
    with engine.begin() as connection:
        youngest = sa.select(sa.func.max(parked_updates.c.entry)).scalar_subquery()
        due = sa.update(parked_updates).where(parked_updates.c.entry == youngest)
        connection.execute(due.values(next_attempt_at=sa.func.now()))
    seed({2: (1, "new", Decimal("1.00"), 0)})
    assert drain()[0].verdicts == {"superseded": 1, "applied": 1}
    assert rows()[2][1:3] == ("paid", Decimal("11.00"))


def test_co_scheduled_update_still_parked_is_unchanged(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    accept([OrderUpdate(order_id=2, total=11)])
    drain()
    waiting = sa.select(*parked_updates.c["entry", "attempts", "next_attempt_at"]).limit(1)
    with engine.connect() as connection:
        first = connection.execute(waiting.order_by(parked_updates.c.entry)).one()
    accept([OrderUpdate(order_id=2, status="paid")])
    assert drain()[0].verdicts == {"parked": 1}, "the new one only"
    with engine.connect() as connection:
        assert connection.execute(waiting.order_by(parked_updates.c.entry)).one() == first


def test_long_parked_update_is_retried_every_minute(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll
) -> None:
    accept([OrderUpdate(order_id=2, total=11)])
    drain()
    with engine.begin() as connection:
        connection.execute(
            sa.update(parked_updates).values(attempts=5000, next_attempt_at=sa.func.now())
        )
    assert drain()[0].verdicts == {"parked": 1}
    pause = sa.func.extract("epoch", parked_updates.c.next_attempt_at - sa.func.now())
    with engine.connect() as connection:
        assert 50 < connection.execute(sa.select(pause)).scalar_one() <= 60


def test_many_refused_updates_of_one_order_are_dead_lettered_in_one_batch(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({4: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, status="cursed")] * 250)
    drain()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (status <> 'cursed')"))
    creating = OrderUpdate(order_id=2, customer_id=1, total=5, status="cursed")
    accept([creating, OrderUpdate(order_id=4, status="paid")])
    assert drain(update_time_slice=60)[0] == DrainResult({"dead": 251, "applied": 1}, more=False)
    assert rows()[4][1] == "paid"


def test_updates_create_their_order_equally_in_one_batch_or_three(
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})

    def three(order_id: int) -> list[OrderUpdate]:
        return [
            OrderUpdate(order_id=order_id, total=9, version=9),
            OrderUpdate(order_id=order_id, customer_id=1, total=5, status="paid", version=5),
            OrderUpdate(order_id=order_id, customer_id=1, total=10, version=10),
        ]

    accept(three(2))
    drain()
    for update in three(4):
        accept([update])
        drain()
    assert rows()[2] == rows()[4] == (1, "paid", Decimal("10.00"), 10)


@pytest.mark.parametrize("event", ["UPDATE", "INSERT"])
def test_update_silently_skipped_by_a_trigger_is_dead_lettered(
    engine: sa.Engine,
    seed: WriteRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    event: str,
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE FUNCTION skip_row() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RETURN NULL; END $$"
            )
        )
        connection.execute(
            sa.text(
                f"CREATE TRIGGER skip BEFORE {event} ON orders "
                "FOR EACH ROW EXECUTE FUNCTION skip_row()"
            )
        )
    order_id = 2 if event == "UPDATE" else 4
    accept([OrderUpdate(order_id=order_id, customer_id=1, total=5)])
    assert drain()[0].verdicts == {"dead": 1}
    with engine.connect() as connection:
        assert (
            "left the order unchanged" in connection.execute(sa.select(dead_updates)).one().reason
        )


def test_stream_is_drained_when_its_server_is_out_of_memory(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    cache: Redis,
    settings: Settings,
    tmp_path: Path,
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    with running_valkey(tmp_path / "valkey") as server, make_redis(server.url, 5) as client:
        stream = UpdateStream(client, 2, 1000)
        stream.append(0, [OrderUpdate(order_id=2, status="paid").encode()], tracked=True)
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("key", "value")
        assert stream.acquire_nudge(0)
        drained = Drain(engine, StreamSource(stream, 0, 60), cache, settings).run()
        assert drained.verdicts == {"applied": 1}
        assert stream.length(0) == 0
    assert rows()[2][1] == "paid"


def test_order_created_concurrently_is_updated(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, customer_id=1, total=77)])
    with engine.begin() as other, ThreadPoolExecutor() as pool:
        other.execute(sa.insert(orders).values(id=2, customer_id=1, total=1))
        drained = pool.submit(drain)
        wait_until_a_session_waits_for_a_lock(engine)
        other.commit()
        assert drained.result(timeout=30)[0].verdicts == {"applied": 1}
    assert rows()[2][2] == Decimal("77.00")


def wait_until_a_session_waits_for_a_lock(engine: sa.Engine) -> None:
    """Wait until another session waits for the lock that this one holds."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.scalar(waiting):
                return
    raise AssertionError("no session waits for a lock")


def test_many_refused_parked_and_new_updates_are_dead_lettered_in_one_drain(
    engine: sa.Engine, seed: WriteRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=key, status="cursed") for key in range(2, 502, 2)])
    drain()
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (status <> 'cursed')"))
        connection.execute(
            sa.text(
                "INSERT INTO orders (id, customer_id, total) "
                "SELECT g, 1, 1 FROM generate_series(2, 1002) AS g"
            )
        )
    make_parked_due(engine)
    accept([OrderUpdate(order_id=key, status="cursed") for key in range(502, 1002, 2)])
    assert drain(update_time_slice=60)[0] == DrainResult({"dead": 500}, more=False)


def test_constraint_refusing_nearly_all_updates_blocks_no_other(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({key: (1, "new", Decimal("1.00"), 0) for key in range(2, 1202, 2)})
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE orders ADD CHECK (status = 'new' OR id % 6 = 0)"))
    accept([OrderUpdate(order_id=key, status="paid") for key in range(2, 1202, 2)])
    verdicts = Counter(drain(update_time_slice=60)[0].verdicts)
    assert verdicts == {"applied": 200, "dead": 400}
    paid = {key for key, row in rows().items() if row[1] == "paid"}
    assert paid == set(range(6, 1202, 6))


def test_malformed_entry_is_dead_lettered_and_blocks_nothing(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    stream: Redis,
    accept: AcceptUpdates,
    drain: DrainAll,
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    stream.xadd("orders:updates:{0}", {"update": b"\xff\x00 garbage"})
    stream.xadd("orders:updates:{0}", {"other": b"field"})
    stream.xadd("orders:updates:{0}", {"update": b'{"order_id":2,"total":"3","\\u0000":1}'})
    stream.xadd("orders:updates:{0}", {"update": b'{"order_id":2,"%s":1}' % (b"x" * 10**6)})
    accept([OrderUpdate(order_id=2, status="paid")])
    verdicts = sum((Counter(each.verdicts) for each in drain()), Counter())
    assert verdicts == {"dead": 4, "applied": 1}
    assert rows()[2][1] == "paid"
    with engine.connect() as connection:
        letters = connection.execute(sa.select(*dead_updates.c["payload", "reason"])).all()
    assert {b"", b"\xff\x00 garbage"} < {bytes(payload) for payload, _reason in letters}
    assert all(len(reason) <= 500 for _payload, reason in letters)


def test_drain_ends_at_once_while_another_holds_the_shard(
    engine: sa.Engine, accept: AcceptUpdates, drain: DrainAll, updates: UpdateStream
) -> None:
    accept([OrderUpdate(order_id=2, status="paid")])
    with engine.begin() as other:
        other.execute(sa.select(sa.func.pg_advisory_xact_lock(int(Lock.DRAIN), 0)))
        assert drain()[0] == DrainResult({}, more=False)
        assert updates.length(0) == 1


def test_drain_yields_after_its_time_slice(
    seed: WriteRows, accept: AcceptUpdates, drain: DrainAll
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    accept([OrderUpdate(order_id=2, total=each) for each in range(5)])
    assert drain(update_time_slice=0.0)[0].more


def test_versions_follow_entry_order() -> None:
    ids = [b"5-0", b"5-1", b"5-10", b"6-0", b"10-0"]
    versions = [version_of(each) for each in ids]
    assert versions == sorted(versions)


def test_only_batches_with_changes_record_an_invalidation_latency(
    seed: WriteRows, accept: AcceptUpdates, drain: DrainAll, cache: Redis
) -> None:
    seed({1: (1, "new", Decimal("1.00"), 10)})
    drain()
    accept([OrderUpdate(order_id=1, total="2", version=9)])
    drain()
    assert invalidation.read_delays(cache) == {}, "nothing waited, then nothing changed"
    accept([OrderUpdate(order_id=1, total="2", version=11)])
    drain()
    assert invalidation.read_delays(cache)[invalidation.Path.WORKER].count == 1
