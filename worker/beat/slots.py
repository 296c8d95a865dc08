"""Slots: beat asks for an entry in any number of messages, and one run a slot comes of them.

The guard is a row of `beat_runs` and the database's clock. So it holds whoever sends: two beats that
both believe to lead, one that was frozen and sends late, or a broker that delivers twice.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.schema import beat_runs

HEADER = "orderworks-beat"
"""The header of beat's messages. One without it is a nudge, and is not guarded."""

MESSAGE_TTL_PERIODS, MIN_MESSAGE_TTL = 2, 60.0
"""Periods, and seconds at the least, that a message of beat waits for a worker: the ones after it do its
work by then. It ends by the sender's clock, which may be behind that of the worker."""


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message of beat is for.

    Attributes:
        every: the configured period in seconds. It counts until the database knows the entry.
        forced: run it at once, whatever its slot: a person asked.
    """

    entry: str
    every: float
    forced: bool = False


def message_options(slot: Slot, every: float) -> dict[str, Any]:
    """Options of the messages that ask for a slot, for an entry of so many seconds."""
    return {
        "expires": max(MIN_MESSAGE_TTL, MESSAGE_TTL_PERIODS * every),
        "headers": {HEADER: msgspec.to_builtins(slot)},
    }


def slot_of(headers: Mapping[str, Any] | None) -> Slot | None:
    """What a message with these headers is for; None if it is not beat's."""
    told = (headers or {}).get(HEADER)
    return None if told is None else msgspec.convert(told, Slot)


def period() -> sa.ColumnElement[timedelta]:
    """How long a slot of the entry is now."""
    return sa.func.coalesce(beat_runs.c.every, beat_runs.c.configured)


def claim(connection: sa.Connection, slot: Slot, task: str, message_id: str) -> bool:
    """Whether this message is to be run: one of those of a slot is, unless the entry is paused.

    A slot may be run from half a period before its time. It then lasts until its time plus half a
    period, so that neither jitter nor a second sender makes a run too many or leaves one out. After
    more than that, slots begin anew: an outage is made up for by one run.

    The message of a child that was killed comes again and goes on with its slot. Commit before the
    work begins.
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
    """Whether no run took what is now the slot.

    A slot further ahead than any claim can put it is one that a clock or a change of the period
    left there.
    """
    slot_at = beat_runs.c.slot_at
    taken = sa.func.now().between(slot_at - period(), slot_at + _periods(0.5))
    return slot_at.is_(None) | ~taken


def _next_slot() -> sa.ColumnElement[Any]:
    """The time of the slot that is run now: in step with the last one, if that was the one before."""
    slot_at, now = beat_runs.c.slot_at, sa.func.now()
    follows = now.between(slot_at + _periods(0.5), slot_at + _periods(1.5))
    return sa.case((follows, slot_at + period()), else_=now)


def _periods(number: float) -> sa.ColumnElement[timedelta]:
    """So many periods. SQLAlchemy knows no multiplication of intervals."""
    return sa.type_coerce(period().op("*")(sa.literal(number, sa.Double)), sa.Interval)


def record_success(connection: sa.Connection, entry: str) -> None:
    """Note that the entry's work was done now."""
    done = sa.update(beat_runs).where(beat_runs.c.entry == entry)
    connection.execute(done.values(succeeded_at=sa.func.clock_timestamp()))


def record_failure(connection: sa.Connection, entry: str, error: str) -> None:
    """Note that the entry's work was tried, and why it failed."""
    failed = sa.update(beat_runs).where(beat_runs.c.entry == entry)
    connection.execute(failed.values(failed_at=sa.func.clock_timestamp(), error=error))
