"""The sessions that hold locks on our tables, as PostgreSQL's views show them.

A lock of a row is in no view. The row has the transaction that locked it, in `xmax`, and each
transaction holds a lock of its own number while it runs.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from orderworks.core.schema import metadata

BLOCKS_WRITES = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""The locks of a table that conflict with any write of it."""

BLOCKS_REFERENCES = ("ExclusiveLock", "AccessExclusiveLock")
"""The locks of a table that conflict with the check of a foreign key that refers to it."""

MAY_LOCK_ROWS = ("RowShareLock", "RowExclusiveLock", *BLOCKS_WRITES)
"""The locks of a table that a session has which may hold locks of its rows."""

IDLE_SECONDS = 10
"""Seconds after which a session that is idle within a transaction blocks others, if it holds locks."""


class LockHolder(msgspec.Struct, frozen=True):
    """A session that holds locks of ours.

    Attributes:
        pid: its process; None for a prepared transaction, which has none.
        application: its `application_name`.
        since: when its transaction began; None if we may not see that.
        seconds: the time since then.
        tables: those of which it holds locks, where that was asked for.
    """

    pid: int | None
    application: str
    since: datetime | None
    seconds: float
    tables: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name the session, and since when its transaction is open."""
        if self.pid is None:
            return "a prepared transaction"
        began = f"since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "since unknown"
        name = self.application or "without a name"
        return f"session {self.pid} (application {name}, in a transaction {began})"

    def fields(self) -> dict[str, object]:
        """Return the fields of a log entry that names the session."""
        return {
            "pid": self.pid,
            "application": self.application,
            "seconds": round(self.seconds, 1),
        }


UNKNOWN_HOLDER = LockHolder(None, "", None, 0.0)

# As in all these queries, the times of sessions of other roles are null without the rights of
# pg_read_all_stats.
_SESSION = """
    activity.pid, coalesce(activity.application_name, ''),
    activity.xact_start,
    coalesce(extract(epoch FROM clock_timestamp() - activity.xact_start), 0)::float
"""

_OF_TABLE = f"""
    SELECT {_SESSION}, array_agg(DISTINCT lock.relation::regclass::text)
    FROM pg_locks AS lock
    LEFT JOIN pg_stat_activity AS activity USING (pid)
    WHERE lock.locktype = 'relation' AND lock.granted
      AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND lock.relation::regclass::text = ANY(:tables) AND lock.mode = ANY(:modes)
      AND lock.pid IS DISTINCT FROM pg_backend_pid()
    GROUP BY activity.pid, activity.application_name, activity.xact_start
    ORDER BY activity.xact_start NULLS LAST
    LIMIT 1
"""  # noqa: S608 - no value is formatted

_BLOCKING = f"""
    SELECT {_SESSION}, array(
        SELECT DISTINCT relation::regclass::text FROM pg_locks
        WHERE locktype = 'relation' AND granted AND pg_locks.pid = activity.pid
          AND relation::regclass::text = ANY(:tables) AND mode = ANY(:modes)
        ORDER BY 1)
    FROM pg_stat_activity AS activity
    WHERE activity.datname = current_database()
      AND activity.application_name NOT LIKE 'orderworks%'
      AND (activity.pid IN (
            SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
            WHERE application_name LIKE 'orderworks%' AND wait_event_type = 'Lock')
        OR activity.state LIKE 'idle in transaction%'
           AND activity.state_change < clock_timestamp() - make_interval(secs => :seconds)
           AND EXISTS (
             SELECT FROM pg_locks
             WHERE locktype = 'relation' AND granted AND pg_locks.pid = activity.pid
               AND relation::regclass::text = ANY(:tables) AND mode = ANY(:modes)))
    ORDER BY activity.xact_start
"""  # noqa: S608 - no value is formatted


def holder_of_tables(
    connection: sa.Connection, tables: Collection[str], modes: Collection[str]
) -> LockHolder | None:
    """Return the session, of others, that holds such a lock of a table for the longest time."""
    row = connection.execute(
        sa.text(_OF_TABLE), {"tables": list(tables), "modes": list(modes)}
    ).first()
    return _holder(row) if row else None


def holders_of_rows(
    connection: sa.Connection, table: sa.Table, ids: Collection[int]
) -> dict[int, LockHolder]:
    """Return the session that holds each of these rows, by the row's id.

    Where several sessions share a lock, the row does not name them: then it is the session that holds
    locks of the table for the longest time.
    """
    query = f"""
        SELECT held.id, {_SESSION}
        FROM {table.name} AS held
        JOIN pg_locks AS lock ON lock.locktype = 'transactionid' AND lock.granted
          AND lock.transactionid = held.xmax
        LEFT JOIN pg_stat_activity AS activity USING (pid)
        WHERE held.id = ANY(:ids)
    """  # noqa: S608 - a table of ours
    rows = connection.execute(sa.text(query), {"ids": sorted(ids)}).all()
    named = {row[0]: _holder(row[1:]) for row in rows}
    if len(named) == len(ids):
        return named
    other = holder_of_tables(connection, [table.name], MAY_LOCK_ROWS) or UNKNOWN_HOLDER
    return {key: named.get(key, other) for key in ids}


def blocking_sessions(connection: sa.Connection) -> list[LockHolder]:
    """Return the sessions of others for which ours wait, or would wait, longest first.

    These are all that block a session of ours now, and those that hold locks of our tables and have
    been idle within their transaction for `IDLE_SECONDS`.
    """
    names = {
        "tables": list(metadata.tables),
        "modes": list(MAY_LOCK_ROWS),
        "seconds": IDLE_SECONDS,
    }
    rows = connection.execute(sa.text(_BLOCKING), names)
    return [_holder(row) for row in rows]


def _holder(row: Sequence[Any]) -> LockHolder:
    pid, application, since, seconds, *tables = row
    return LockHolder(pid, application, since, seconds, *map(tuple, tables))
