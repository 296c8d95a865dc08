"""Slots: beat may ask for an entry several times per period; one run per slot is executed.

The guard is a row of `beat_runs` and the database's clock. It therefore holds for any sender: two
beats that both send, a beat that was frozen and sends late, a broker that delivers twice.
"""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import beat_runs
from worker.beat.schedule import Slot


def period() -> sa.ColumnElement[timedelta]:
    """Return the SQL expression of an entry's current period, the length of its slots."""
    return sa.func.coalesce(beat_runs.c.every, beat_runs.c.configured)


def claim(connection: sa.Connection, slot: Slot, task: str, message_id: str) -> bool:
    """Claim the slot for this message; return whether to run it.

    One message of a slot is run, unless the entry is paused. A slot may be run from half a period
    before its time. It then lasts until its time plus half a period, so that neither jitter nor a
    second sender causes an extra run or a missed one. If more time has passed, slots start again from
    now: one run follows an outage.

    The message of a killed child is delivered again and continues its slot. Commit before the work
    begins.
    """
    runs, now = beat_runs.c, sa.func.now()
    again = (runs.claimed_by == message_id) & _is_unfinished()
    first = insert(beat_runs).values(
        entry=slot.entry,
        task=task,
        configured=timedelta(seconds=slot.every),
        slot_at=now,
        claimed_by=message_id,
        started_at=now,
        runs=1,
    )
    claimed = first.on_conflict_do_update(
        index_elements=[runs.entry],
        set_={
            "slot_at": sa.case((again, runs.slot_at), else_=_next_slot()),
            "claimed_by": message_id,
            "started_at": now,
            "runs": runs.runs + sa.case((again, 0), else_=1),
        },
        where=sa.or_(again, sa.literal(slot.forced), ~runs.paused & _is_due()),
    )
    return connection.execute(claimed.returning(runs.entry)).first() is not None


def _is_unfinished() -> sa.ColumnElement[bool]:
    succeeded = beat_runs.c.succeeded_at
    return succeeded.is_(None) | (succeeded < beat_runs.c.started_at)


def _is_due() -> sa.ColumnElement[bool]:
    """Return the condition that no run has taken the current slot.

    A slot further ahead than any claim can put it was left by a clock change or by a change of the
    period; it does not count.
    """
    slot_at = beat_runs.c.slot_at
    taken = sa.func.now().between(slot_at - period(), slot_at + _periods(0.5))
    return slot_at.is_(None) | ~taken


def _next_slot() -> sa.ColumnElement[Any]:
    """Return the time of the slot that is run now: the last one plus a period, if it is the next one."""
    slot_at, now = beat_runs.c.slot_at, sa.func.now()
    follows = now.between(slot_at + _periods(0.5), slot_at + _periods(1.5))
    return sa.case((follows, slot_at + period()), else_=now)


def _periods(number: float) -> sa.ColumnElement[timedelta]:
    """Return that number of periods. SQLAlchemy has no multiplication of intervals."""
    return sa.type_coerce(period().op("*")(sa.literal(number, sa.Double)), sa.Interval)


def record_success(connection: sa.Connection, entry: str) -> None:
    """Record that a run of the entry succeeded now."""
    done = sa.update(beat_runs).where(beat_runs.c.entry == entry)
    connection.execute(done.values(succeeded_at=sa.func.clock_timestamp()))


def record_failure(connection: sa.Connection, entry: str, error: str) -> None:
    """Record that a run of the entry failed now, and its error."""
    failed = sa.update(beat_runs).where(beat_runs.c.entry == entry)
    connection.execute(failed.values(failed_at=sa.func.clock_timestamp(), error=error))
