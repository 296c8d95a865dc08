"""Intake of Celery messages: valid updates are applied like any other; invalid ones are kept."""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import INGEST
from orderworks.core.schema import dead_updates, update_outbox, update_shards
from orderworks.updates.dead_letters import DeadLetterFilter, list_dead_letters
from orderworks.updates.ingest import BATCH_SIZE, IngestResult, UpdateIngest
from orderworks.updates.replay import Replay
from orderworks.updates.stream import UpdateStream
from tests.support.types import DrainAll, DrainOutbox, ReadRows

pytestmark = pytest.mark.usefixtures("two_orders")

PAID = {"order_id": 2, "status": "paid", "version": 7}

Admit = Callable[[object], IngestResult]


@pytest.fixture
def nudged() -> list[int]:
    """The shards for which a drain was asked."""
    return []


@pytest.fixture
def admit(engine: sa.Engine, updates: UpdateStream, nudged: list[int]) -> Admit:
    """Ingest the argument of a message, after a round trip through JSON."""
    intake = UpdateIngest(engine, updates, nudged.append)
    return lambda argument: intake.ingest(json.loads(json.dumps(argument)))


@pytest.fixture
def letters(engine: sa.Engine) -> Callable[[], dict[str, str]]:
    """Reasons of all dead letters by payload."""

    def read() -> dict[str, str]:
        query = sa.select(dead_updates.c.payload, dead_updates.c.reason)
        with engine.connect() as connection:
            return {
                bytes(payload).decode(errors="replace"): why
                for payload, why in connection.execute(query)
            }

    return read


def account(engine: sa.Engine) -> tuple[int, int]:
    """Return the counters of the intake: accepted, dead."""
    query = sa.select(*update_shards.c["accepted", "dead"]).where(update_shards.c.shard == INGEST)
    with engine.connect() as connection:
        accepted, dead = connection.execute(query).one()
        return int(accepted), int(dead)


def test_updates_in_messages_are_applied(
    admit: Admit, drain: DrainAll, rows: ReadRows, nudged: list[int]
) -> None:
    other = {"order_id": 1, "total": 0.29, "version": 8}
    assert admit([PAID, other]) == IngestResult(accepted=2, dead=0)
    assert sorted(nudged) == [0, 1]
    drain()
    assert rows() == {
        1: (1, "new", Decimal("0.29"), 8),
        2: (1, "paid", Decimal("1.00"), 7),
    }


def test_repeated_or_late_message_has_no_effect(
    admit: Admit, drain: DrainAll, rows: ReadRows, nudged: list[int]
) -> None:
    older = {**PAID, "status": "packed", "version": 6}
    for argument in ([PAID], [PAID], [older]):
        admit(argument)
    assert nudged == [0], "one nudge is enough for what waits"
    assert drain()[0].verdicts == {"applied": 1, "duplicate": 1, "stale": 1}
    assert rows()[2][1] == "paid"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"order_id": 2, "status": "x"}, "version: is missing"),
        ({**PAID, "version": None}, "version: is missing"),
        ({**PAID, "version": "7"}, "version: is neither a whole number nor a moment"),
        ({**PAID, "version": -1}, "version: is not between"),
        ({**PAID, "version": 2**70}, "version: is not between"),
        ({**PAID, "staus": "x"}, "update: has an unknown field 'staus'"),
        ({**PAID, "total": "1.005"}, "total: '1.005' has more than two decimals"),
        ({**PAID, "total": math.nan}, "update: JSON is malformed"),
        ({**PAID, "status": "a\0b"}, "status: has a character that PostgreSQL cannot store"),
        ({**PAID, "status": "\ud800"}, "update: "),
        ({"order_id": 2, "version": 1}, "update: give at least one of"),
        ([PAID], "update: is a list, not an object"),
        ("x\ny", "update: is a text, not an object"),
        (None, "update: is null, not an object"),
    ],
)
def test_invalid_item_is_dead_lettered_and_others_are_applied(
    item: object,
    said: str,
    admit: Admit,
    drain: DrainAll,
    rows: ReadRows,
    engine: sa.Engine,
    letters: Callable[[], dict[str, str]],
) -> None:
    assert admit([{"order_id": 1, "total": 3, "version": 1}, item, PAID]) == IngestResult(2, 1)
    drain()
    assert (rows()[1][2], rows()[2][1]) == (Decimal("3.00"), "paid")
    (reason,) = letters().values()
    assert reason.startswith(f"cannot be read: {said}")
    assert account(engine) == (1, 1)


def test_invalid_item_is_dead_lettered_and_counted_once_on_redelivery(
    admit: Admit, engine: sa.Engine, letters: Callable[[], dict[str, str]]
) -> None:
    bad = {"order_id": 2, "status": "größer"}
    turned = dict(reversed(bad.items()))
    for argument in ([bad, turned], [bad], [turned, 5]):
        admit(argument)
    assert set(letters()) == {'{"order_id":2,"status":"größer"}', "5"}
    assert account(engine) == (2, 2)


def test_non_list_payload_is_dead_lettered_as_a_whole(
    admit: Admit, updates: UpdateStream, letters: Callable[[], dict[str, str]]
) -> None:
    assert admit(PAID) == IngestResult(0, 1) == admit(PAID)
    assert list(letters().values()) == ["cannot be read: updates: dict is not a list"]
    assert updates.length(0) + updates.length(1) == 0


def test_empty_list_does_nothing(admit: Admit, nudged: list[int]) -> None:
    assert admit([]) == IngestResult(0, 0)
    assert not nudged


def test_large_message_is_ingested_in_pieces(
    admit: Admit, updates: UpdateStream, engine: sa.Engine
) -> None:
    many = [{"order_id": 2, "total": 1, "version": each} for each in range(BATCH_SIZE + 1)]
    bad = [{"order_id": each} for each in range(BATCH_SIZE + 1)]
    assert admit([*many, *bad]) == IngestResult(BATCH_SIZE + 1, BATCH_SIZE + 1)
    assert updates.length(0) == BATCH_SIZE + 1
    assert account(engine) == (BATCH_SIZE + 1, BATCH_SIZE + 1)


def test_updates_for_a_full_stream_go_into_the_outbox(
    engine: sa.Engine,
    stream: Redis,
    rows: ReadRows,
    drain: DrainAll,
    drain_outbox: DrainOutbox,
) -> None:
    full = UpdateStream(stream, 2, limit=1)
    full.append(0, [b'{"order_id":2,"total":"4.00"}'])
    argument = [PAID, {"order_id": 1, "total": "5", "version": 1}]
    assert UpdateIngest(engine, full, lambda _shard: None).ingest(argument) == IngestResult(2, 0)
    assert (full.length(0), full.length(1)) == (1, 1), "the other shard has room"
    assert drain_outbox().verdicts == {"applied": 1}
    assert [each.verdicts for each in drain()] == [{"applied": 1}, {"applied": 1}]
    assert (rows()[1][2], rows()[2][1]) == (Decimal("5.00"), "paid")


def test_without_redis_updates_go_into_the_outbox(
    engine: sa.Engine, rows: ReadRows, drain_outbox: DrainOutbox
) -> None:
    unreachable = make_redis("redis://127.0.0.1:1/0", timeout=1)
    argument = [
        {"order_id": key, "status": 'a "quoted"\n word', "total": "999999999999.99", "version": 1}
        for key in (1, 2)
    ]
    intake = UpdateIngest(engine, UpdateStream(unreachable, 2, 1000), lambda _shard: None)
    assert intake.ingest(argument) == IngestResult(2, 0)
    assert drain_outbox().verdicts == {"applied": 2}
    assert rows()[2] == (1, 'a "quoted"\n word', Decimal("999999999999.99"), 1)


def test_message_with_invalid_item_appends_nothing_without_postgresql(
    admit: Admit, updates: UpdateStream, monkeypatch: pytest.MonkeyPatch, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE dead_updates RENAME TO away"))
    with pytest.raises(sa.exc.DBAPIError):
        admit([PAID, {}])
    assert updates.length(0) == 0, "it comes again, and would be appended again"
    assert admit([PAID]) == IngestResult(1, 0), "what needs no letter needs no PostgreSQL"


def test_dead_update_without_version_is_not_replayed(
    admit: Admit, engine: sa.Engine, updates: UpdateStream, nudged: list[int]
) -> None:
    admit([{"order_id": 2, "status": "x"}])
    with engine.connect() as connection:
        (letter,) = list_dead_letters(connection, DeadLetterFilter(order_id=2), 10).dead
    assert (letter.shard, letter.order_id, letter.version) == (INGEST, None, None)
    assert letter.accepted_at == letter.first_seen
    done = Replay(engine, updates, nudged.append).run(DeadLetterFilter(ids=[letter.id]))
    assert (done.replayed, [each.id for each in done.unreadable]) == (0, [letter.id])
    assert updates.length(0) == 0


def test_hostile_items_are_dead_lettered_and_others_are_applied(
    admit: Admit, letters: Callable[[], dict[str, Any]]
) -> None:
    nested: object = []
    for _level in range(200):
        nested = [nested]
    long = {"order_id": 2, "status": "x" * 10**6, "version": 1}
    assert admit([nested, long, PAID]) == IngestResult(1, 2)
    assert all(len(reason) <= 500 for reason in letters().values())


def test_outbox_stays_empty_when_the_stream_accepts_all(admit: Admit, engine: sa.Engine) -> None:
    admit([PAID])
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(update_outbox)) == 0
