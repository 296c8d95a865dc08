"""The outbox: updates that an application enqueues in a database transaction of its own.

    with engine.begin() as connection:
        connection.execute(...)  # the application's own work
        outbox.enqueue(connection, [OrderUpdate(order_id=42, status="paid")])

They are accepted if that transaction commits, and only then. Redis is not needed. A program in any
language can do the same by plain SQL: see docs/wire-format.md. The drain deletes them from the table in
the transaction that applies them, so each is applied once.
"""

import inspect
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, overload

import redis
import sqlalchemy as sa

from orderworks.core.errors import InvalidUpdate
from orderworks.core.routing import OUTBOX
from orderworks.core.schema import update_outbox, update_shards
from orderworks.core.versions import SEQUENCE_BITS
from orderworks.updates.entries import RawEntry
from orderworks.updates.messages import OrderUpdate, UpdateOutcome
from orderworks.updates.stream import UpdateStream

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

CHANNEL = "update_outbox"
"""The channel on which PostgreSQL notifies that a transaction with enqueued updates has committed."""

_INSERT = sa.insert(update_outbox)


@overload
def enqueue(
    connection: "sa.Connection | Session", updates: Iterable[OrderUpdate]
) -> int: ...  # pragma: no cover - for the type checker


@overload
def enqueue(
    connection: "AsyncConnection | AsyncSession", updates: Iterable[OrderUpdate]
) -> Awaitable[int]: ...  # pragma: no cover - for the type checker


def enqueue(connection: Any, updates: Iterable[OrderUpdate]) -> int | Awaitable[int]:
    """Enqueue updates within the caller's transaction; return their number.

    The updates are accepted when that transaction commits, and are applied soon after. This function
    commits nothing. An update without a version has its position in the order of acceptance by the
    database's clock at the time of this call.

    Args:
        connection: a connection or session of SQLAlchemy, with any driver. For an asynchronous one the
            result must be awaited.
        updates: any number of updates; those of one order apply in this order.

    Raises:
        InvalidUpdate: an item is not an OrderUpdate. Nothing is enqueued.
    """
    rows = [_row(update) for update in updates]
    if inspect.iscoroutinefunction(connection.execute):
        return _enqueue_async(connection, rows)
    if rows:
        connection.execute(_INSERT, rows)
    return len(rows)


async def _enqueue_async(
    connection: "AsyncConnection | AsyncSession", rows: list[dict[str, object]]
) -> int:
    if rows:
        await connection.execute(_INSERT, rows)
    return len(rows)


def _row(update: object) -> dict[str, object]:
    if not isinstance(update, OrderUpdate):
        raise InvalidUpdate("update", f"{type(update).__name__} is not an OrderUpdate")
    return {
        "order_id": update.order_id,
        "customer_id": update.customer_id,
        "status": update.status,
        "total": update.total,
        "version": update.version,
    }


def waits(connection: sa.Connection) -> bool:
    """Return whether the outbox has committed updates."""
    return bool(connection.scalar(sa.select(sa.exists().select_from(update_outbox))))


# The position in the order of acceptance, by the database's clock. Its resolution is a microsecond: that
# fills the bits that number entries within a millisecond. Times in the future or before 1970 are cut.
_ENQUEUED = sa.func.least(
    sa.func.greatest(update_outbox.c.enqueued_at, sa.func.to_timestamp(0)),
    sa.func.clock_timestamp(),
)
ENQUEUED_VERSION = sa.cast(
    sa.func.floor(sa.extract("epoch", _ENQUEUED) * (1000 << SEQUENCE_BITS)), sa.BigInteger
)

_PAYLOAD = sa.cast(
    sa.func.json_strip_nulls(
        sa.func.json_build_object(
            *("order_id", update_outbox.c.order_id),
            *("total", sa.cast(update_outbox.c.total, sa.Text)),
            *("status", update_outbox.c.status),
            *("customer_id", update_outbox.c.customer_id),
            *("version", update_outbox.c.version),
        )
    ),
    sa.Text,
)

_OLDEST = (
    sa.select(update_outbox.c.id)
    .order_by(update_outbox.c.id)
    .limit(sa.bindparam("count"))
    .with_for_update(skip_locked=True)
)

_TAKE = (
    sa.delete(update_outbox)
    .where(update_outbox.c.id.in_(_OLDEST))
    .returning(update_outbox.c.id, ENQUEUED_VERSION, _PAYLOAD)
)

_LAST_ENTRY = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == OUTBOX)


class OutboxSource:
    """The outbox, drained like a shard with the number `OUTBOX`."""

    shard = OUTBOX
    can_wait = False

    def __init__(self, stream: UpdateStream) -> None:
        self._stream = stream

    def fetch(
        self,
        connection: sa.Connection,
        count: int,
        timeout: float,  # noqa: ARG002 - it cannot wait: a worker that listens to PostgreSQL nudges
    ) -> list[RawEntry]:
        """Delete the oldest rows, and return them; a rollback restores them."""
        with suppress(redis.RedisError):  # The outbox does not need Redis.
            self._stream.hold_nudge(self.shard)
        rows = connection.execute(_TAKE, {"count": count}).all()
        return _with_versions(
            sorted(tuple(row) for row in rows), connection.scalar(_LAST_ENTRY) or 0
        )

    def publish(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:  # noqa: ARG002 - none is tracked
        """Do nothing."""
        return True

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:  # noqa: ARG002 - none is tracked
        """Do nothing: the commit has deleted the rows."""
        return True

    def release(self, connection: sa.Connection) -> bool:
        """Request a nudge by the next commit again, and then return whether the outbox is empty."""
        with suppress(redis.RedisError):
            self._stream.release_nudge(self.shard)
        with connection.begin():
            return connection.scalar(_OLDEST, {"count": 1}) is None


def _with_versions(rows: Iterable[tuple[int, int, str]], newest: int) -> list[RawEntry]:
    """Return the rows with versions that grow with their ids, all higher than `newest`.

    So rows of one microsecond have different versions, and a row that was committed late has a higher
    one than rows that were drained before it.
    """
    raw_entries = []
    for _id, version, payload in rows:
        newest = max(version, newest + 1)
        raw_entries.append((newest, payload.encode(), False))
    return raw_entries
