"""Updates that could not be applied: parked ones that are tried again, dead ones that are kept."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orders.messages import OrderUpdate, Verdict
from orders.schema import dead_updates, parked_updates
from orders.updates import Accepted, Candidate

LONGEST_PAUSE = 60
"""Seconds between two attempts at the most; the pause doubles from one second on."""

_WAITED = sa.func.now() - parked_updates.c.first_seen


def due(connection: sa.Connection, shard: int, patience: float, limit: int) -> list[Candidate]:
    """The shard's parked updates whose time has come, in order of acceptance, at most `limit`.

    Those that have waited longer than `patience` seconds get their last attempt.
    """
    last_attempt = sa.extract("epoch", _WAITED) >= patience
    query = (
        sa.select(parked_updates, last_attempt.label("last_attempt"))
        .where(parked_updates.c.shard == shard, parked_updates.c.next_attempt_at <= sa.func.now())
        .order_by(parked_updates.c.entry)
        .limit(limit)
    )
    return [_candidate(row) for row in connection.execute(query)]


def _candidate(row: sa.Row[*tuple[object, ...]]) -> Candidate:
    payload = bytes(row.payload)
    return Candidate(
        entry=row.entry,
        payload=payload,
        update=OrderUpdate.decode(payload),
        attempts=row.attempts,
        first_seen=row.first_seen,
        last_attempt=row.last_attempt,
    )


def shards_with_due(connection: sa.Connection) -> set[int]:
    """The shards in which a parked update's time has come."""
    return set(
        connection.scalars(
            sa.select(parked_updates.c.shard)
            .distinct()
            .where(parked_updates.c.next_attempt_at <= sa.func.now())
        )
    )


def file_away(connection: sa.Connection, shard: int, candidates: Sequence[Accepted]) -> None:
    """Keep what is parked, bury what is dead or out of patience, forget what was parked and is settled.

    Doing it again with the same candidates only counts one attempt more.
    """
    for each in candidates:
        if each.verdict is Verdict.PARKED and each.last_attempt:
            each.end(Verdict.DEAD, each.reason)
    _park(connection, shard, [each for each in candidates if each.verdict is Verdict.PARKED])
    _bury(connection, shard, [each for each in candidates if each.verdict is Verdict.DEAD])
    settled = [each for each in candidates if each.attempts and each.verdict is not Verdict.PARKED]
    _unpark(connection, shard, settled)


def _park(connection: sa.Connection, shard: int, candidates: Iterable[Accepted]) -> None:
    rows = [
        {
            "shard": shard,
            "entry": each.entry,
            "payload": each.payload,
            "reason": each.reason,
            "next_attempt_at": sa.func.now() + _pause(each.attempts),
        }
        for each in candidates
    ]
    if not rows:
        return
    statement = insert(parked_updates).values(rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["shard", "entry"],
            set_={
                "attempts": parked_updates.c.attempts + 1,
                "reason": statement.excluded.reason,
                "next_attempt_at": statement.excluded.next_attempt_at,
            },
        )
    )


def _pause(attempts: int) -> sa.Function[object]:
    seconds = min(2.0**attempts, LONGEST_PAUSE)
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _bury(connection: sa.Connection, shard: int, candidates: Iterable[Accepted]) -> None:
    rows = [
        {
            "shard": shard,
            "entry": each.entry,
            "payload": each.payload,
            "reason": each.reason,
            "first_seen": each.first_seen or sa.func.now(),
            "attempts": each.attempts + 1,
        }
        for each in candidates
    ]
    if rows:
        connection.execute(insert(dead_updates).values(rows).on_conflict_do_nothing())


def _unpark(connection: sa.Connection, shard: int, candidates: Iterable[Accepted]) -> None:
    entries = [each.entry for each in candidates]
    if entries:
        connection.execute(
            sa.delete(parked_updates).where(
                parked_updates.c.shard == shard, parked_updates.c.entry.in_(entries)
            )
        )
