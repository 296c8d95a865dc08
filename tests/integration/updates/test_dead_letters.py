"""Dead updates: found by what is known of them, replayed in their old place among all writes."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.errors import Backpressure, DeadUpdateNotFound, ReplayStopped
from orderworks.core.redis import Redis
from orderworks.core.schema import dead_updates
from orderworks.core.settings import Settings
from orderworks.updates.dead_letters import (
    DeadLetterFilter,
    DeadLetterPage,
    Letter,
    list_dead_letters,
)
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.replay import Replay, ReplayResult
from orderworks.updates.stream import UpdateStream
from tests.support.processes import crash
from tests.support.types import DrainAll, OrderRows, ReadRows, WriteRows

Find = Callable[..., DeadLetterPage]
AddDead = Callable[..., list[int]]
RunReplay = Callable[..., ReplayResult]

START = 1_795_375_608_079 << 20
"""The position in the order of acceptance of the first update that a test dead-letters."""

NOW = datetime.now(UTC)


@pytest.fixture
def find(engine: sa.Engine) -> Find:
    """Find dead updates."""

    def read(limit: int | None = None, **wanted: object) -> DeadLetterPage:
        with engine.connect() as connection:
            return list_dead_letters(connection, DeadLetterFilter(**wanted), limit)  # type: ignore[arg-type]

    return read


@pytest.fixture
def add_dead(engine: sa.Engine) -> AddDead:
    """Insert dead updates with consecutive positions; return their ids."""

    def write(*payloads: bytes | OrderUpdate, entry: int = START, **values: object) -> list[int]:
        letters = [
            {
                "shard": 0,
                "entry": entry + number,
                "payload": each.encode() if isinstance(each, OrderUpdate) else each,
                "reason": "order does not exist",
                "first_seen": NOW,
                "attempts": 3,
                **values,
            }
            for number, each in enumerate(payloads)
        ]
        inserted = sa.insert(dead_updates).returning(
            dead_updates.c.id, sort_by_parameter_order=True
        )
        with engine.begin() as connection:
            return list(connection.scalars(inserted, letters))

    return write


@pytest.fixture
def replay(engine: sa.Engine, updates: UpdateStream) -> RunReplay:
    """Replay dead updates, without draining them."""

    def run(limit: int | None = None, **wanted: object) -> ReplayResult:
        wish = DeadLetterFilter(**wanted)  # type: ignore[arg-type]
        return Replay(engine, updates, lambda _shard: None, rate=100_000).run(wish, limit)

    return run


def ids(found: DeadLetterPage) -> list[int]:
    return [letter.id for letter in found.dead]


# Found.


def test_dead_update_is_returned_with_all_its_fields(find: Find, add_dead: AddDead) -> None:
    (made,) = add_dead(b'{"order_id":42,"status":"paid"}', died_at=NOW)
    assert find() == DeadLetterPage(
        1,
        [
            Letter(
                id=made,
                order_id=42,
                version=START,
                reason="order does not exist",
                payload='{"order_id":42,"status":"paid"}',
                shard=0,
                entry="1795375608079-0",
                accepted_at=datetime.fromtimestamp(1_795_375_608.079, UTC),
                first_seen=NOW,
                died_at=NOW,
                attempts=3,
                replayed_at=None,
            )
        ],
    )


def test_newest_come_first_and_all_matches_are_counted(find: Find, add_dead: AddDead) -> None:
    made = add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(1, 6)))
    found = find(limit=2)
    assert (found.total, ids(found)) == (5, made[:2:-1])


def test_reason_filter_is_matched_literally(find: Find, add_dead: AddDead) -> None:
    update = OrderUpdate(order_id=1, status="paid")
    (made,) = add_dead(update, reason="Key 50%_x is NOT there")
    add_dead(update, entry=START + 9, reason="Key 500 x is not there")
    assert ids(find(reason="50%_X is not")) == [made]


def test_order_is_found_in_any_spelling_of_the_payload(find: Find, add_dead: AddDead) -> None:
    of_42 = add_dead(
        b'{"order_id":42,"status":"paid"}',
        b'{ "status": "gr\xc3\xb6\xc3\x9fer\\\\", "order_id"\t:\n 42 }',
        b'{"order_id":42,"statos":"x"}',
        b'\xff\x00{"order_id":42',
    )
    add_dead(
        b'{"order_id":421,"status":"paid"}',
        b'{"order_id":142,"status":"paid"}',
        b'{"order_id":42.5,"status":"paid"}',
        b'{"order_id":4,"customer_id":42,"version":42}',
        b'{"order_id":4,"status":"\\"order_id\\":42"}',
        b"42",
        entry=START + 100,
    )
    found = find(order_id=42)
    assert sorted(ids(found)) == of_42
    assert [letter.order_id for letter in found.dead] == [None, None, 42, 42]


def test_dead_updates_are_filtered_by_time_and_replay_state(find: Find, add_dead: AddDead) -> None:
    update = OrderUpdate(order_id=1, status="paid")
    long_ago, lately = NOW - timedelta(days=2), NOW - timedelta(hours=1)
    (old,) = add_dead(update, died_at=long_ago)
    (new,) = add_dead(update, entry=START + 1, died_at=lately, replayed_at=NOW)
    assert ids(find(since=lately)) == [new]
    assert ids(find(until=lately)) == [old]
    assert ids(find(since=long_ago, until=NOW)) == [new, old]
    assert ids(find(replayed=True)) == [new]
    assert ids(find(replayed=False)) == [old]


def test_ids_that_do_not_exist_are_named(find: Find, add_dead: AddDead, replay: RunReplay) -> None:
    (made,) = add_dead(OrderUpdate(order_id=1, status="paid"))
    assert ids(find(ids=[made])) == [made]
    for ask in (find, replay):
        with pytest.raises(DeadUpdateNotFound, match=f"id {made + 1}, {made + 2};"):
            ask(ids=[made + 2, made, made + 1])
    assert find().dead[0].replayed_at is None


# Replayed.


def test_replayed_update_is_applied_after_its_cause_is_fixed(
    seed: WriteRows,
    rows: ReadRows,
    add_dead: AddDead,
    replay: RunReplay,
    drain: DrainAll,
) -> None:
    add_dead(
        OrderUpdate(order_id=5, customer_id=1, total="7"), OrderUpdate(order_id=5, status="paid")
    )
    seed({1: (1, "new", Decimal(1), 0)})
    assert replay() == ReplayResult(2, [])
    drain()
    assert rows()[5] == (1, "paid", Decimal(7), START + 1)


def test_a_replay_overwrites_nothing_newer(
    seed: WriteRows,
    rows: ReadRows,
    add_dead: AddDead,
    replay: RunReplay,
    drain: DrainAll,
) -> None:
    newer: OrderRows = {
        2: (1, "newer", Decimal(9), START + 1),
        4: (1, "newer", Decimal(9), 8),
    }
    seed(newer)
    add_dead(OrderUpdate(order_id=2, total="7"), OrderUpdate(order_id=4, total="7", version=7))
    assert replay() == ReplayResult(2, [])
    assert drain()[0].verdicts == {"stale": 2}
    assert rows() == newer


def test_update_dead_lettered_again_keeps_its_version(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    add_dead: AddDead,
    replay: RunReplay,
    drain: DrainAll,
) -> None:
    add_dead(OrderUpdate(order_id=2, customer_id=1, total="7"))
    replay()
    drain()
    add_dead(OrderUpdate(order_id=2, status="paid"), entry=START + 5)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE parked_updates SET next_attempt_at = now()"))
    drain(unknown_order_patience=0)
    seed({1: (1, "new", Decimal(1), 0)})
    assert replay() == ReplayResult(2, []), "the first one became a dead letter again"
    drain()
    assert rows()[2] == (1, "paid", Decimal(7), START + 5)


def test_already_replayed_updates_are_replayed_by_id_only(
    add_dead: AddDead, replay: RunReplay, find: Find, updates: UpdateStream
) -> None:
    made = add_dead(*(OrderUpdate(order_id=key, status="paid") for key in (2, 4, 6)))
    assert replay(ids=made[:1]) == ReplayResult(1, [])
    assert ids(find(replayed=True)) == made[:1]
    assert replay() == ReplayResult(2, [])
    assert replay() == ReplayResult(0, [])
    assert replay(ids=made[1:]) == ReplayResult(2, [])
    assert updates.length(0) == 5


def test_limit_takes_the_oldest_matches(add_dead: AddDead, replay: RunReplay, find: Find) -> None:
    updates = [OrderUpdate(order_id=key, status="paid") for key in (2, 4, 6)]
    others = add_dead(*updates, reason="customer 7 does not exist")
    made = add_dead(*updates, entry=START + 10)
    assert replay(limit=2, reason="order") == ReplayResult(2, [], left=1)
    assert sorted(ids(find(replayed=True))) == made[:2]
    assert sorted(ids(find(replayed=False))) == [*others, made[2]]


def test_unreadable_payload_stays_and_is_reported(
    add_dead: AddDead, replay: RunReplay, find: Find
) -> None:
    strange = add_dead(b"", b"\xff\x00 garbage", b'{"order_id":2,"totl":1}', b"[" * 100_000)
    good = add_dead(OrderUpdate(order_id=2, status="paid"), entry=START + 9)
    done = replay()
    assert done.replayed == 1
    assert sorted(each.id for each in done.unreadable) == strange
    assert all(each.reason for each in done.unreadable)
    assert "totl" in next(each.reason for each in done.unreadable if each.id == strange[2])
    assert ids(find(replayed=True)) == good


def test_replay_killed_before_marking_is_repeated_without_effect(
    engine: sa.Engine,
    seed: WriteRows,
    rows: ReadRows,
    add_dead: AddDead,
    replay: RunReplay,
    drain: DrainAll,
    find: Find,
    updates: UpdateStream,
) -> None:
    seed({2: (1, "new", Decimal(1), 0)})
    add_dead(OrderUpdate(order_id=2, total="7"))

    sa.event.listen(engine, "commit", crash)
    with pytest.raises(KeyboardInterrupt):
        replay()
    sa.event.remove(engine, "commit", crash)
    assert updates.length(0) == 1, "the fault happened: it is appended …"
    assert find().dead[0].replayed_at is None, "… and not marked"
    drain()
    first = rows()
    assert replay() == ReplayResult(1, [])
    assert drain()[0].verdicts == {"duplicate": 1}
    assert rows() == first == {2: (1, "new", Decimal(7), START)}


def test_concurrent_replays_append_each_update_once(
    engine: sa.Engine, settings: Settings, add_dead: AddDead, updates: UpdateStream
) -> None:
    add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(2, 42, 2)))
    other = make_engine(settings, "orderworks-other")
    first = Replay(engine, updates, lambda _shard: None, rate=50)
    second = Replay(other, updates, lambda _shard: None, rate=100_000)
    # The other one runs as a whole when the first one has planned all and done one batch.
    done = list[ReplayResult]()

    def interrupt(seen: int, _planned: int) -> None:
        if not done:
            assert seen == 5
            done.append(second.run(DeadLetterFilter()))

    assert first.run(DeadLetterFilter(), on_progress=interrupt) == ReplayResult(5, [])
    other.dispose()
    assert done == [ReplayResult(15, [])]
    assert updates.length(0) == 20


def test_replay_nudges_each_shard_once(
    engine: sa.Engine, add_dead: AddDead, updates: UpdateStream
) -> None:
    add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(1, 9)))
    nudged = list[int]()
    Replay(engine, updates, nudged.append, rate=20).run(DeadLetterFilter())
    assert nudged == [0, 1]


def test_a_replay_keeps_to_its_rate(
    engine: sa.Engine, add_dead: AddDead, updates: UpdateStream
) -> None:
    add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(1, 31)))
    began = time.monotonic()
    Replay(engine, updates, lambda _shard: None, rate=100).run(DeadLetterFilter())
    assert time.monotonic() - began >= 0.2, "the last tenth of a second's is not waited for"


def full_stream(stream: Redis, settings: Settings, left: int) -> UpdateStream:
    """Return streams of which the first has room for `left` updates only."""
    limit = 20
    for _ in range(limit - left):
        stream.xadd("orders:updates:{0}", {"update": b'{"order_id":2,"status":"full"}'})
    return UpdateStream(stream, settings.update_shards, limit)


def test_replay_waits_for_a_full_stream(
    engine: sa.Engine, stream: Redis, settings: Settings, add_dead: AddDead
) -> None:
    add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(2, 22, 2)))
    updates = full_stream(stream, settings, left=5)

    def make_room(seen: int, planned: int) -> None:
        if seen < planned:
            with pytest.raises(Backpressure):
                updates.append(0, [b"{}"])
            stream.pexpire("orders:updates:{0}", 100)

    replay = Replay(engine, updates, lambda _shard: None, rate=50)
    assert replay.run(DeadLetterFilter(), on_progress=make_room) == ReplayResult(10, [])
    assert updates.length(0) == 5


def test_replay_stops_at_a_full_stream_and_reports_progress(
    engine: sa.Engine, stream: Redis, settings: Settings, add_dead: AddDead, find: Find
) -> None:
    made = add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(2, 22, 2)))
    updates = full_stream(stream, settings, left=5)
    replay = Replay(engine, updates, lambda _shard: None, rate=50, wait_for_room=0.3)
    with pytest.raises(ReplayStopped) as stopped:
        replay.run(DeadLetterFilter())
    assert (stopped.value.replayed, stopped.value.left) == (5, 5)
    assert isinstance(stopped.value.cause, Backpressure)
    assert sorted(ids(find(replayed=True))) == made[:5]
    stream.delete("orders:updates:{0}")
    assert Replay(engine, updates, lambda _shard: None).run(DeadLetterFilter()) == ReplayResult(
        5, []
    )


def test_replay_stops_at_a_server_error_and_reports_progress(
    engine: sa.Engine, stream: Redis, updates: UpdateStream, add_dead: AddDead, find: Find
) -> None:
    made = add_dead(*(OrderUpdate(order_id=key, status="paid") for key in range(2, 22, 2)))

    def spoil(_seen: int, _planned: int) -> None:
        stream.set("orders:updates:{0}", "no stream")

    with pytest.raises(ReplayStopped) as stopped:
        Replay(engine, updates, lambda _shard: None, rate=50).run(
            DeadLetterFilter(), on_progress=spoil
        )
    assert (stopped.value.replayed, stopped.value.left) == (5, 5)
    assert "WRONGTYPE" in str(stopped.value.cause)
    assert sorted(ids(find(replayed=True))) == made[:5]
