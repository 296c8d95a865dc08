"""The schedule as stored in the database: beat's entries, manual changes, and the state of each."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from orderworks.core.errors import EntryNotFound
from orderworks.core.schema import beat_runs
from worker.beat.slots import period

OVERDUE_GRACE = 30.0
"""Seconds that any entry may be late, even with a shorter period: time for a takeover by another beat,
or for a busy worker."""


class PlannedEntry(msgspec.Struct, frozen=True):
    """An entry as configured; `every` is its period in seconds."""

    entry: str
    task: str
    every: float


class BeatEntry(msgspec.Struct, frozen=True):
    """An entry and its state. Durations are in seconds.

    Attributes:
        every: the period in effect.
        configured: the configured period; `every` differs if a person changed it.
        since: the time since which the present period counts.
        slot_at: the time of the slot that was run last.
        alive_at: the time of its last success; `since`, if that is later.
        silence: the time since `alive_at`.
        due_in: the time until its next slot; negative if it is late, None while it is paused.
    """

    entry: str
    task: str
    every: float
    configured: float
    paused: bool
    runs: int
    since: datetime
    slot_at: datetime | None
    succeeded_at: datetime | None
    failed_at: datetime | None
    error: str | None
    alive_at: datetime
    silence: float
    due_in: float | None

    @property
    def is_overdue(self) -> bool:
        """Return whether its last success is older than two periods. A paused entry is never overdue."""
        return not self.paused and self.silence > max(2 * self.every, OVERDUE_GRACE)

    @property
    def has_failed(self) -> bool:
        """Return whether it failed since its last success."""
        return self.failed_at is not None and (
            self.succeeded_at is None or self.failed_at > self.succeeded_at
        )


def register(connection: sa.Connection, planned: Sequence[PlannedEntry]) -> None:
    """Store the configured entries of the leading beat; delete those that it no longer has.

    Beat registers at each poll, so entries that are stored already are left alone: an upsert would lock
    their rows, and no slot could be claimed while a beat is frozen in between.
    """
    named = [each.entry for each in planned]
    connection.execute(sa.delete(beat_runs).where(beat_runs.c.entry.not_in(named)))
    rows = connection.execute(sa.select(*beat_runs.c["entry", "task", "configured"]))
    stored = {entry: (task, configured) for entry, task, configured in rows}
    for each in planned:
        if stored.get(each.entry) != (each.task, timedelta(seconds=each.every)):
            connection.execute(_registered(each))


def _registered(planned: PlannedEntry) -> sa.Executable:
    """Return the statement that stores an entry."""
    runs = beat_runs.c
    made = insert(beat_runs).values(
        entry=planned.entry, task=planned.task, configured=timedelta(seconds=planned.every)
    )
    has_other_period = (runs.configured != made.excluded.configured) & runs.every.is_(None)
    return made.on_conflict_do_update(
        index_elements=[runs.entry],
        set_={
            "task": made.excluded.task,
            "configured": made.excluded.configured,
            "since": sa.case((has_other_period, sa.func.now()), else_=runs.since),
        },
    )


def read_entries(connection: sa.Connection) -> list[BeatEntry]:
    """Return all entries, ordered by name."""
    rows = connection.execute(_entries().order_by(beat_runs.c.entry))
    return [_entry(row) for row in rows]


def read_entry(connection: sa.Connection, name: str) -> BeatEntry:
    """Return one entry.

    Raises:
        EntryNotFound: beat has no entry of that name.
    """
    found = {each.entry: each for each in read_entries(connection)}
    if name not in found:
        raise EntryNotFound(name, list(found))
    return found[name]


def set_period(connection: sa.Connection, name: str, every: timedelta | None) -> BeatEntry:
    """Change the period of an entry; None restores the configured one.

    Raises:
        EntryNotFound: beat has no entry of that name.
    """
    return _change(connection, name, {"every": every})


def pause(connection: sa.Connection, name: str) -> BeatEntry:
    """Pause an entry until it is resumed. Raises `EntryNotFound`."""
    return _change(connection, name, {"paused": True})


def resume(connection: sa.Connection, name: str) -> BeatEntry:
    """Resume a paused entry. Raises `EntryNotFound`."""
    return _change(connection, name, {"paused": False})


def _change(connection: sa.Connection, name: str, values: dict[str, Any]) -> BeatEntry:
    """Change the entry. `since` becomes now, so that it is not late by its former period."""
    change = sa.update(beat_runs).where(beat_runs.c.entry == name)
    connection.execute(change.values(since=sa.func.now(), **values))
    return read_entry(connection, name)


def _entries() -> sa.Select[Any]:
    runs = beat_runs.c
    alive_at = sa.func.greatest(runs.since, runs.succeeded_at)  # NULLs are ignored.
    due_at = sa.func.coalesce(runs.slot_at, runs.since) + period()
    return sa.select(
        *runs["entry", "task", "paused", "runs", "since", "slot_at"],
        *runs["succeeded_at", "failed_at", "error"],
        _seconds(period()).label("every"),
        _seconds(runs.configured).label("configured"),
        alive_at.label("alive_at"),
        _seconds(sa.func.now() - alive_at).label("silence"),
        sa.case((~runs.paused, _seconds(due_at - sa.func.now()))).label("due_in"),
    )


def _seconds(span: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    return sa.cast(sa.func.extract("epoch", span), sa.Double)


def _entry(row: sa.Row[Any]) -> BeatEntry:
    return BeatEntry(**row._mapping)  # noqa: SLF001 - a public attribute in spite of its name
