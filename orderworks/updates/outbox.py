"""Updates that an app enqueues within a database transaction of its own.

    with engine.begin() as connection:
        connection.execute(...)  # the app's own work
        outbox.enqueue(connection, [OrderUpdate(order_id=42, status="paid")])

They are accepted if that transaction commits, and never were if it rolls back. Redis is not needed for
it. Any language can do the same by plain SQL: see docs/wire-format.md. The drain takes them out of the
table in the transaction that applies them, so each is applied once.
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
"""Where PostgreSQL says that a transaction that enqueued has committed."""

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
    """Accept updates with the caller's transaction; how many. To be awaited for asynchronous ones.

    `connection` is a connection or session of SQLAlchemy, with any driver. Nothing is committed here.
    Updates without a version of their own have their place in the order of acceptance by the
    database's clock, at the moment of this call.

    Raises:
        InvalidUpdate: one is not an OrderUpdate. None is enqueued.
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
    """Whether committed updates wait in the outbox."""
    return bool(connection.scalar(sa.select(sa.exists().select_from(update_outbox))))


# The place in the order of acceptance, by the database's clock. Microseconds are the finest that it
# tells: they fill the bits that number a millisecond. Nobody enqueues in the future, or before 1970.
_ENQUEUED = sa.func.least(
    sa.func.greatest(update_outbox.c.enqueued_at, sa.func.to_timestamp(0)),
    sa.func.clock_timestamp(),
)
PLACE = sa.cast(
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
    .returning(update_outbox.c.id, PLACE, _PAYLOAD)
)

_LAST_ENTRY = sa.select(update_shards.c.last_entry).where(update_shards.c.shard == OUTBOX)


class OutboxBacklog:
    """The outbox as one more shard, with the number `OUTBOX`."""

    shard = OUTBOX
    can_wait = False

    def __init__(self, stream: UpdateStream) -> None:
        self._stream = stream

    def fetch(
        self,
        connection: sa.Connection,
        count: int,
        timeout: float,  # noqa: ARG002 - nothing can be seen to come here: who listens nudges
    ) -> list[RawEntry]:
        """Take the oldest out; if the transaction rolls back, they are back."""
        with suppress(redis.RedisError):  # What is in the database does not wait for Redis.
            self._stream.hold_nudge(self.shard)
        rows = connection.execute(_TAKE, {"count": count}).all()
        return _with_versions(
            sorted(tuple(row) for row in rows), connection.scalar(_LAST_ENTRY) or 0
        )

    def acknowledge(self, outcomes: Mapping[int, UpdateOutcome]) -> bool:  # noqa: ARG002 - nobody tracks
        """Nothing is left to be dropped: it is gone with the commit."""
        return True

    def release(self, connection: sa.Connection) -> bool:
        """Let the next commit nudge again, and only then look for what `take` would find."""
        with suppress(redis.RedisError):
            self._stream.release_nudge(self.shard)
        with connection.begin():
            return connection.scalar(_OLDEST, {"count": 1}) is None


def _with_versions(rows: Iterable[tuple[int, int, str]], last: int) -> list[RawEntry]:
    """Places that grow with the ids, after all that were given before.

    So rows of one microsecond have places of their own, and one that was committed late comes after
    those that were taken before it.
    """
    arrivals = []
    for _id, place, payload in rows:
        last = max(place, last + 1)
        arrivals.append((last, payload.encode(), False))
    return arrivals
