"""Entries of the stream with ids that no producer of ours gives."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.schema import orders, update_shards
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tests.support.types import AcceptUpdates, DrainAll, ReadRows, WriteRows

STREAM = "orders:updates:{0}"


@pytest.mark.parametrize(
    "entry_id",
    ["9223372036854775807-1", "9000000000000-5", "18446744073709551615-5"],
)
def test_entries_with_ids_out_of_range_are_applied_and_the_ids_restart(
    engine: sa.Engine,
    stream: Redis,
    seed: WriteRows,
    rows: ReadRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    entry_id: str,
) -> None:
    seed({key: (1, "new", Decimal("1.00"), 0) for key in (2, 4)})
    (before,) = accept([OrderUpdate(order_id=2, total=3)])
    stream.xadd(STREAM, {"update": OrderUpdate(order_id=2, status="odd").encode()}, id=entry_id)
    accept([OrderUpdate(order_id=4, status="paid")])
    drain()
    assert rows()[2][1:3] == ("odd", Decimal("3.00"))
    assert rows()[4][1] == "paid"
    (after,) = accept([OrderUpdate(order_id=4, status="shipped")])
    assert before < after < "2000000000000-0", "the ids follow the clock again"
    drain()
    assert rows()[4][1] == "shipped"
    with engine.connect() as connection:
        counted = sa.select(*update_shards.c["accepted", "applied", "superseded"])
        assert connection.execute(counted).one() == (4, 3, 1)
        newest = connection.scalar(sa.select(sa.func.max(orders.c.version)))
    assert newest is not None
    assert newest < 2_000_000_000_000 << 20


def test_verdict_of_an_entry_with_an_id_out_of_range_is_published(
    stream: Redis, updates: UpdateStream, seed: WriteRows, drain: DrainAll
) -> None:
    seed({2: (1, "new", Decimal("1.00"), 0)})
    update = OrderUpdate(order_id=2, status="odd").encode()
    stream.xadd(STREAM, {"update": update, "track": "1"}, id="9223372036854775807-7")
    drain()
    assert stream.keys("*9223372036854775807-7*")
    assert updates.length(0) == 0


def test_only_the_entries_that_were_read_are_trimmed(stream: Redis, updates: UpdateStream) -> None:
    for entry_id in ("5-1048577", "6-0", "6-1"):
        stream.xadd(STREAM, {"update": b"{}"}, id=entry_id)
    updates.trim(0, updates.read(0, 1))
    assert [each.id for each in updates.read(0, 9)] == [b"6-0", b"6-1"]
