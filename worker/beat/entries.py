"""The schedule as the database knows it: beat's entries, how they are steered, and how they do."""

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
"""Seconds that any entry may be late, however short its period: what a change of the leading beat, or
a busy worker, takes."""


class PlannedEntry(msgspec.Struct, frozen=True):
    """An entry as beat is configured; `every` in seconds."""

    entry: str
    task: str
    every: float


class BeatEntry(msgspec.Struct, frozen=True):
    """An entry and how it does. Spans are in seconds.

    Attributes:
        every: the period that counts.
        configured: the one that counts if nobody sets another.
        since: since when it is due in this period.
        slot_at: the time of the slot that was run last.
        alive_at: when it last succeeded; `since`, if that is later.
        silence: the time since then.
        due_in: until its next slot; below zero if it is late, None while it is paused.
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
        """Whether its last success is older than two periods. One that is paused owes nothing."""
        return not self.paused and self.silence > max(2 * self.every, OVERDUE_GRACE)

    @property
    def has_failed(self) -> bool:
        """Whether it failed since it last succeeded."""
        return self.failed_at is not None and (
            self.succeeded_at is None or self.failed_at > self.succeeded_at
        )


def register(connection: sa.Connection, planned: Sequence[PlannedEntry]) -> None:
    """Let the database know what the leading beat asks for; entries that are gone are forgotten."""
    named = [each.entry for each in planned]
    connection.execute(sa.delete(beat_runs).where(beat_runs.c.entry.not_in(named)))
    for each in planned:
        connection.execute(_registered(each))


def _registered(planned: PlannedEntry) -> sa.Executable:
    """Writes only what differs: beat registers every few seconds."""
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
        where=(runs.task != made.excluded.task) | (runs.configured != made.excluded.configured),
    )


def read_entries(connection: sa.Connection) -> list[BeatEntry]:
    """All entries by name."""
    rows = connection.execute(_entries().order_by(beat_runs.c.entry))
    return [_entry(row) for row in rows]


def read_entry(connection: sa.Connection, name: str) -> BeatEntry:
    """One entry.

    Raises:
        EntryNotFound: beat has none of that name.
    """
    found = {each.entry: each for each in read_entries(connection)}
    if name not in found:
        raise EntryNotFound(name, list(found))
    return found[name]


def set_period(connection: sa.Connection, name: str, every: timedelta | None) -> BeatEntry:
    """Give an entry another period, or the configured one again with None.

    Raises:
        EntryNotFound: beat has none of that name.
    """
    return _change(connection, name, {"every": every})


def pause(connection: sa.Connection, name: str) -> BeatEntry:
    """Let an entry not run until it is resumed. Raises `EntryNotFound`."""
    return _change(connection, name, {"paused": True})


def resume(connection: sa.Connection, name: str) -> BeatEntry:
    """Let an entry run again. Raises `EntryNotFound`."""
    return _change(connection, name, {"paused": False})


def _change(connection: sa.Connection, name: str, values: dict[str, Any]) -> BeatEntry:
    """It is due in its new way from now on, so it is not late for what it was before."""
    change = sa.update(beat_runs).where(beat_runs.c.entry == name)
    connection.execute(change.values(since=sa.func.now(), **values))
    return read_entry(connection, name)


def _entries() -> sa.Select[Any]:
    runs = beat_runs.c
    alive_at = sa.func.greatest(runs.since, runs.succeeded_at)  # A null counts for nothing.
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
    return BeatEntry(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row's names
