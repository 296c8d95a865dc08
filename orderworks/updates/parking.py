"""Updates that could not be applied: parked ones are retried, dead ones become dead letters."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeGuard

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import parked_updates
from orderworks.updates.dead_letters import dead_letter
from orderworks.updates.entries import AcceptedUpdate, ParsedUpdate, parse_entries
from orderworks.updates.messages import Verdict

MAX_RETRY_PAUSE = 60
"""Longest pause between two attempts, in seconds; the first is one second, and each is twice as long."""

NOT_APPLIED = (Verdict.PARKED, Verdict.DEAD)

_WAITED = sa.func.now() - parked_updates.c.first_seen
_IS_DUE = parked_updates.c.next_attempt_at <= sa.func.now()


def fetch_due(
    connection: sa.Connection, shard: int, max_wait: float, limit: int, order_ids: Collection[int]
) -> list[AcceptedUpdate]:
    """Return the shard's parked updates to try now, in order of acceptance.

    These are at most `limit` that are due, together with all other parked updates of their orders and of
    the orders `order_ids`, so that none is overtaken. For those that are parked for longer than
    `max_wait` seconds it is the last attempt.
    """
    in_shard = sa.select(
        parked_updates,
        (sa.extract("epoch", _WAITED) >= max_wait).label("last_attempt"),
        _IS_DUE.label("is_due"),
    ).where(parked_updates.c.shard == shard)
    by_time = in_shard.where(_IS_DUE).order_by(parked_updates.c.entry).limit(limit)
    due = connection.execute(by_time).all()
    # Those that are due must not overtake older ones of their orders, either, which are not due yet.
    affected = sorted({*order_ids, *(row.order_id for row in due)})
    of_orders = parked_updates.c.order_id == sa.any_(sa.literal(affected, sa.ARRAY(sa.BigInteger)))
    rows = [*due, *connection.execute(in_shard.where(of_orders))]
    return _read([row for _entry, row in sorted({row.entry: row for row in rows}.items())])


def _read(rows: Sequence[sa.Row[*tuple[Any, ...]]]) -> list[AcceptedUpdate]:
    parked = parse_entries([(row.entry, bytes(row.payload), row.tracked) for row in rows])
    for each, row in zip(parked, rows, strict=True):
        each.attempts, each.first_seen = row.attempts, row.first_seen
        each.is_last_attempt, each.retried_early = row.last_attempt, not row.is_due
    return parked


def shards_with_due(connection: sa.Connection) -> set[int]:
    """Return the shards that have parked updates which are due."""
    return set(connection.scalars(sa.select(parked_updates.c.shard).distinct().where(_IS_DUE)))


def settle_parked(
    connection: sa.Connection, shard: int, candidates: Sequence[AcceptedUpdate]
) -> None:
    """Park, dead-letter or unpark each candidate by its verdict.

    An update that was retried early and is still parked stays unchanged until it is due. A repetition
    with the same candidates only counts another attempt.
    """
    unapplied = [each for each in candidates if each.attempts or each.verdict in NOT_APPLIED]
    for each in unapplied:
        if each.verdict is Verdict.PARKED and each.is_last_attempt:
            each.settle(Verdict.DEAD, each.reason)
    _park(connection, shard, [each for each in unapplied if _is_parked(each)])
    dead_letter(connection, shard, [each for each in unapplied if each.verdict is Verdict.DEAD])
    finished = [each for each in unapplied if each.attempts and each.verdict is not Verdict.PARKED]
    _unpark(connection, shard, finished)


def _is_parked(accepted: AcceptedUpdate) -> TypeGuard[ParsedUpdate]:
    # Only parsed updates are ever parked.
    return accepted.verdict is Verdict.PARKED and not accepted.retried_early


_ROW = insert(parked_updates).values(
    **{
        name: sa.bindparam(name)
        for name in ("shard", "entry", "order_id", "payload", "reason", "tracked")
    },
    next_attempt_at=sa.func.now() + sa.bindparam("pause", type_=sa.Interval),
)
_PARK = _ROW.on_conflict_do_update(
    index_elements=["shard", "entry"],
    set_={
        "attempts": parked_updates.c.attempts + 1,
        "reason": _ROW.excluded.reason,
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
            "pause": timedelta(seconds=min(2 ** min(each.attempts, 10), MAX_RETRY_PAUSE)),
            "tracked": each.tracked,
        }
        for each in candidates
    ]
    if rows:
        connection.execute(_PARK, rows)


def _unpark(connection: sa.Connection, shard: int, candidates: Iterable[AcceptedUpdate]) -> None:
    entries = [each.entry for each in candidates]
    if entries:
        connection.execute(
            sa.delete(parked_updates).where(
                parked_updates.c.shard == shard, parked_updates.c.entry.in_(entries)
            )
        )
