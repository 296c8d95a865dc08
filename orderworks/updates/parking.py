"""Updates that could not be applied: parked ones are retried, dead ones become dead letters."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeGuard

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import orders, parked_updates
from orderworks.updates.coalescing import coalesce
from orderworks.updates.dead_letters import dead_letter
from orderworks.updates.entries import AcceptedUpdate, Cause, ParsedUpdate, parse_entries
from orderworks.updates.messages import Verdict

MAX_RETRY_PAUSE = 60
"""Longest pause between two attempts, in seconds; the first is one second, and each is twice as long."""

MAX_LOCK_PAUSE = 5
"""The longest pause of updates that wait for a lock: to find that it is still held takes no wait."""

ERROR_PATIENCE = 3600.0
"""Seconds for which an update that fails, for a time as it seems, is tried before it becomes a dead
letter. As long as an application's mistake takes to be found and corrected on a working day."""

MAX_ALONE = 20
"""Updates that are tried alone, each in a transaction of its own, between two batches."""

MAX_OF_ORDER = 1000
"""Parked updates of one order, all of which are tried together. Of more, only those are kept that give
a field which no newer one gives: otherwise each attempt would take seconds, and the shard with it."""

NOT_APPLIED = (Verdict.PARKED, Verdict.DEAD)

_WAITED = sa.func.now() - parked_updates.c.first_seen
_IS_DUE = parked_updates.c.next_attempt_at <= sa.func.now()


def fetch_due(
    connection: sa.Connection,
    shard: int,
    max_wait: float,
    limit: int,
    order_ids: Collection[int],
    created: Collection[int],
) -> list[AcceptedUpdate]:
    """Return the shard's parked updates to try now, in order of acceptance.

    These are about `limit` that are due, together with all other parked updates of their orders, and
    those of the orders `order_ids` that exist or, as those in `created`, may be created: so none is
    overtaken. For those whose order or customer is unknown for longer than `max_wait` seconds it is the
    last attempt. Those that failed are tried alone instead.
    """
    is_unknown = parked_updates.c.cause == Cause.UNKNOWN
    order_id = parked_updates.c.order_id
    existing = sa.exists().where(orders.c.id == order_id)
    affected = {*_orders_with_due(connection, shard, limit), *created}
    query = _parked(shard, is_unknown & _has_waited(max_wait)).where(
        parked_updates.c.cause != Cause.ERROR,
        _is_any(order_id, affected) | (_is_any(order_id, order_ids) & existing),
    )
    return _read(connection.execute(query.order_by(parked_updates.c.entry)).all())


def _orders_with_due(connection: sa.Connection, shard: int, limit: int) -> list[int]:
    """Return the orders of the oldest due updates, which have about `limit` parked ones together.

    All parked updates of an order are tried together, so that none is overtaken. With more of them than
    that, the updates of other orders would have to wait.
    """
    can_be_due = (parked_updates.c.shard == shard) & (parked_updates.c.cause != Cause.ERROR)
    oldest = sa.select(parked_updates.c.order_id).where(can_be_due, _IS_DUE)
    due = oldest.order_by(parked_updates.c.entry).limit(limit)
    counts = (
        sa.select(parked_updates.c.order_id, sa.func.count())
        .where(can_be_due, parked_updates.c.order_id.in_(due))
        .group_by(parked_updates.c.order_id)
        .order_by(sa.func.min(parked_updates.c.entry))
    )
    chosen, total = list[int](), 0
    for order_id, count in connection.execute(counts):
        total += count
        if chosen and total > limit:
            break
        chosen.append(order_id)
    return chosen


def _is_any(column: sa.ColumnElement[int], ids: Collection[int]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(sorted(ids), sa.ARRAY(sa.BigInteger)))


def begin_attempts(connection: sa.Connection, shard: int) -> Sequence[int]:
    """Return the shard's updates to try alone now, at most `MAX_ALONE`, by their entry.

    Their next attempt is set first, for the case that an attempt ends this process.
    """
    due = sa.select(parked_updates.c.entry).where(
        parked_updates.c.shard == shard, parked_updates.c.cause == Cause.ERROR, _IS_DUE
    )
    oldest = due.order_by(parked_updates.c.next_attempt_at, parked_updates.c.entry).limit(MAX_ALONE)
    pause = sa.literal(timedelta(seconds=MAX_RETRY_PAUSE), sa.Interval)
    begun = (
        sa.update(parked_updates)
        .where(parked_updates.c.shard == shard, parked_updates.c.entry.in_(oldest))
        .values(next_attempt_at=sa.func.now() + pause)
        .returning(parked_updates.c.entry)
    )
    return sorted(connection.scalars(begun))


def fetch_one(connection: sa.Connection, shard: int, entry: int) -> list[AcceptedUpdate]:
    """Return the update that is to be tried alone; none if it was replayed or deleted meanwhile."""
    query = _parked(shard, _has_waited(ERROR_PATIENCE)).where(parked_updates.c.entry == entry)
    found = _read(connection.execute(query).all())
    for each in found:
        each.retried_early = False
    return found


def _parked(shard: int, is_last: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(parked_updates, is_last.label("last_attempt"), _IS_DUE.label("is_due")).where(
        parked_updates.c.shard == shard
    )


def _has_waited(seconds: float) -> sa.ColumnElement[bool]:
    return sa.extract("epoch", _WAITED) >= seconds


def _read(rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[AcceptedUpdate]:
    parked = parse_entries([(row.entry, bytes(row.payload), row.tracked) for row in rows])
    for each, row in zip(parked, rows, strict=True):
        each.attempts, each.first_seen = row.attempts, row.first_seen
        each.is_last_attempt, each.retried_early = row.last_attempt, not row.is_due
        each.parked_for = each.cause = Cause(row.cause)
    return parked


def shards_with_due(connection: sa.Connection) -> set[int]:
    """Return the shards that have parked updates which are due."""
    return set(connection.scalars(sa.select(parked_updates.c.shard).distinct().where(_IS_DUE)))


def count_locked(connection: sa.Connection) -> int:
    """Return the number of parked updates that wait for a lock."""
    waits = parked_updates.c.cause == Cause.LOCK
    return connection.scalar(sa.select(sa.func.count()).where(waits)) or 0


def settle_parked(
    connection: sa.Connection, shard: int, candidates: Sequence[AcceptedUpdate]
) -> None:
    """Park, dead-letter or unpark each candidate by its verdict.

    An update that was retried early and is still parked stays unchanged until it is due. A repetition
    with the same candidates only counts another attempt.
    """
    unapplied = [each for each in candidates if each.attempts or each.verdict in NOT_APPLIED]
    _merge_many(each for each in unapplied if isinstance(each, ParsedUpdate))
    for each in unapplied:
        if each.verdict is Verdict.PARKED and each.is_last_attempt:
            each.settle(Verdict.DEAD, each.reason)
    _park(connection, shard, [each for each in unapplied if _is_parked(each)])
    dead_letter(connection, shard, [each for each in unapplied if each.verdict is Verdict.DEAD])
    finished = [each for each in unapplied if each.attempts and each.verdict is not Verdict.PARKED]
    _unpark(connection, shard, finished)


def _merge_many(candidates: Iterable[ParsedUpdate]) -> None:
    """Merge the parked updates of each order of which there are more than `MAX_OF_ORDER`.

    Those that give no field any more are superseded; the others stay parked.
    """
    by_order = defaultdict[int, list[ParsedUpdate]](list)
    for each in candidates:
        if each.verdict is Verdict.PARKED:
            by_order[each.update.order_id].append(each)
    for parked in by_order.values():
        if len(parked) > MAX_OF_ORDER:
            _merge(parked)


def _merge(parked: Sequence[ParsedUpdate]) -> None:
    reasons = {each.entry: each.reason for each in parked}
    (change,) = coalesce(parked, {})
    giving = {each.entry for each in change.giving()}
    for each in change.updates:
        kept = each.entry in giving
        each.settle(
            Verdict.PARKED if kept else Verdict.SUPERSEDED, reasons[each.entry] if kept else ""
        )


def _is_parked(accepted: AcceptedUpdate) -> TypeGuard[ParsedUpdate]:
    # Only parsed updates are ever parked.
    return accepted.verdict is Verdict.PARKED and not accepted.retried_early


_ROW = insert(parked_updates).values(
    **{
        name: sa.bindparam(name)
        for name in ("shard", "entry", "order_id", "payload", "reason", "tracked", "cause")
    },
    next_attempt_at=sa.func.now() + sa.bindparam("pause", type_=sa.Interval),
)
_PARK = _ROW.on_conflict_do_update(
    index_elements=["shard", "entry"],
    set_={
        "attempts": parked_updates.c.attempts + 1,
        "reason": _ROW.excluded.reason,
        "cause": _ROW.excluded.cause,
        "first_seen": sa.case(
            (parked_updates.c.cause == _ROW.excluded.cause, parked_updates.c.first_seen),
            else_=sa.func.now(),
        ),
        "next_attempt_at": _ROW.excluded.next_attempt_at,
    },
    # With RETURNING, SQLAlchemy sends one statement for all rows; without, one for each.
).returning(parked_updates.c.entry)


def _park(connection: sa.Connection, shard: int, candidates: Iterable[ParsedUpdate]) -> None:
    rows = [
        {
            "shard": shard,
            "entry": each.entry,
            "order_id": each.update.order_id,
            "payload": each.payload,
            "reason": each.reason,
            "pause": _pause(each),
            "tracked": each.tracked,
            "cause": each.cause,
        }
        for each in candidates
    ]
    if rows:
        connection.execute(_PARK, rows)


def _pause(parked: ParsedUpdate) -> timedelta:
    """Return the time until the next attempt; the first one of a cause is a second."""
    attempts = parked.attempts if parked.cause is parked.parked_for else 0
    longest = MAX_LOCK_PAUSE if parked.cause is Cause.LOCK else MAX_RETRY_PAUSE
    return timedelta(seconds=min(2 ** min(attempts, 10), longest))


def _unpark(connection: sa.Connection, shard: int, candidates: Iterable[AcceptedUpdate]) -> None:
    entries = [each.entry for each in candidates]
    if entries:
        connection.execute(
            sa.delete(parked_updates).where(
                parked_updates.c.shard == shard, parked_updates.c.entry.in_(entries)
            )
        )
