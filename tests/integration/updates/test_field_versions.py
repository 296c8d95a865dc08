"""Each field of an order belongs to the newest write that gave it."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks import outbox
from orderworks.core.keys import update_verdict
from orderworks.core.redis import Redis
from orderworks.core.schema import update_shards
from orderworks.core.versions import version_at
from orderworks.updates.messages import OrderUpdate, UpdateOutcome
from orderworks.updates.stream import UpdateStream
from tests.support.types import DrainAll, DrainOutbox, ReadRows, WriteRows

Settle = Callable[..., list[tuple[str, str]]]

NEWEST = 1 << 61
"""A version on the scale of the order of acceptance, in 2043."""


@pytest.fixture
def settle(updates: UpdateStream, stream: Redis, drain: DrainAll) -> Settle:
    """Append tracked updates of order 1 and drain them; their verdicts and reasons."""

    def run(*batch: OrderUpdate) -> list[tuple[str, str]]:
        shard = updates.shard_of(1)
        ids = updates.append(shard, [each.encode() for each in batch], tracked=True).ids
        drain()
        stored = [stream.get(update_verdict(shard, each)) for each in ids]
        outcomes = [UpdateOutcome.decode(bytes(each)) for each in stored]  # type: ignore[arg-type]
        return [(each.verdict.value, each.reason) for each in outcomes]

    return run


@pytest.fixture
def order(seed: WriteRows) -> None:
    """Order 1 of customer 1, in version 5; and customer 2."""
    seed({1: (1, "new", Decimal("1.00"), 5), 9: (2, "new", Decimal("1.00"), 5)})


def change(**fields: object) -> OrderUpdate:
    return OrderUpdate(order_id=1, **fields)  # type: ignore[arg-type]


@pytest.mark.usefixtures("order")
def test_older_update_gives_the_fields_that_no_newer_one_gave(
    settle: Settle, rows: ReadRows
) -> None:
    assert settle(change(status="paid", version=9)) == [("applied", "")]
    assert settle(change(status="held", total="7", version=8)) == [
        ("applied", "status: version 9 is newer")
    ]
    assert rows()[1] == (1, "paid", Decimal("7.00"), 9)


@pytest.mark.usefixtures("order")
def test_update_is_stale_only_if_no_field_is_taken(settle: Settle, rows: ReadRows) -> None:
    settle(change(status="paid", version=9), change(total="8", version=12))
    assert settle(change(status="held", total="7", version=8)) == [
        ("stale", "total: version 12 is newer; status: version 9 is newer")
    ]
    assert rows()[1] == (1, "paid", Decimal("8.00"), 12)


@pytest.mark.usefixtures("order")
def test_update_that_is_repeated_after_a_newer_field_is_a_duplicate(settle: Settle) -> None:
    both = change(status="paid", total="3", version=7)
    settle(both, change(total="4", version=8))
    assert settle(both) == [("duplicate", "total: version 8 is newer")]


@pytest.mark.usefixtures("order")
def test_of_equal_versions_with_other_values_the_later_one_counts(
    settle: Settle, rows: ReadRows
) -> None:
    assert settle(change(total="2", version=7)) == [("applied", "")]
    assert settle(change(total="2.00", version=7)) == [("duplicate", "")]
    assert settle(change(total="3", version=7)) == [("applied", "")]
    assert settle(change(total="4", version=7), change(total="5", version=7)) == [
        ("superseded", ""),
        ("applied", ""),
    ]
    assert rows()[1][2] == Decimal("5.00")


@pytest.mark.usefixtures("order")
def test_outbox_and_stream_in_turns_lose_no_field(
    engine: sa.Engine, settle: Settle, drain_outbox: DrainOutbox, rows: ReadRows
) -> None:
    with engine.begin() as connection:
        outbox.enqueue(connection, [change(status="paid")])
    settle(change(total="7"))
    drain_outbox()
    assert rows()[1][:3] == (1, "paid", Decimal("7.00"))


@pytest.mark.usefixtures("order")
def test_moment_and_order_of_acceptance_are_on_one_scale(settle: Settle, rows: ReadRows) -> None:
    moment = datetime(2026, 10, 7, 9, 50, 26, 123456, UTC)
    settle(change(total="7", version=moment))
    assert rows()[1][3] == version_at(moment)
    settle(change(total="8"))
    late = settle(change(total="9", status="paid", version=moment.replace(hour=10)))
    assert late[0][0] == "applied"
    assert late[0][1].startswith("total: version ")
    assert rows()[1][:3] == (1, "paid", Decimal("8.00"))


@pytest.mark.usefixtures("order")
def test_counter_on_an_order_with_versions_by_acceptance_is_named_and_counted(
    engine: sa.Engine, settle: Settle
) -> None:
    settle(change(total="7", version=NEWEST))
    [(verdict, reason)] = settle(change(total="8", version=6))
    assert verdict == "stale"
    assert f"version {NEWEST}, by the order of acceptance, is newer than 6, a counter" in reason
    with engine.connect() as connection:
        query = sa.select(update_shards.c.mixed, update_shards.c.mixed_order_id)
        assert connection.execute(query.where(update_shards.c.mixed > 0)).all() == [(1, 1)]


def test_order_that_an_update_creates_takes_older_fields(
    settle: Settle, rows: ReadRows, seed: WriteRows
) -> None:
    seed({9: (1, "new", Decimal("1.00"), 5)})
    assert settle(change(customer_id=1, total="3", version=9)) == [("applied", "")]
    assert settle(change(status="paid", total="2", version=4)) == [
        ("applied", "total: version 9 is newer")
    ]
    assert rows()[1] == (1, "paid", Decimal("3.00"), 9)
