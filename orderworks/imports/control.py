"""Control of a running import by an operator: pause, resume, cancel, retry.

Each changes the ledger if the state there allows it; workers check the state before each chunk. A chunk
that is being loaded is loaded to its end.
"""

from collections.abc import Callable

import sqlalchemy as sa

from orderworks.core.errors import WrongState
from orderworks.core.keys import import_uncounted_starts
from orderworks.core.redis import Redis
from orderworks.core.schema import import_chunks, imports
from orderworks.imports import ledger
from orderworks.imports.progress import Summary, publish_progress

ControlAction = Callable[[sa.Connection, str], Summary]
"""One of the functions below: changes the ledger and returns the summary to publish."""


def apply_action(
    engine: sa.Engine, stream: Redis, change: ControlAction, import_id: str
) -> Summary:
    """Make a change and publish it, both or neither; the progress of the import then.

    Raises:
        ImportNotFound: the ledger has no such import.
        WrongState: the import is not in a state for it.
        redis.RedisError: Redis cannot be reached; nothing is changed.
    """
    with engine.begin() as connection:
        summary = change(connection, import_id)
        publish_progress(stream, summary)
    return summary


def pause(connection: sa.Connection, import_id: str) -> Summary:
    """Start no further chunk of a running import."""
    if not _update_if(connection, import_id, _is("running"), status="paused"):
        raise _wrong_state(connection, import_id, "only a running one can be paused")
    return ledger.next_summary(connection, import_id)


def resume(connection: sa.Connection, import_id: str) -> Summary:
    """Continue a paused import. Its plan has to be nudged after the commit."""
    now = sa.func.now()
    if not _update_if(connection, import_id, _is("paused"), status="running", nudged_at=now):
        raise _wrong_state(connection, import_id, "only a paused one can be resumed")
    return ledger.next_summary(connection, import_id)


def cancel(connection: sa.Connection, import_id: str) -> Summary:
    """End an import early. Loaded chunks stay loaded."""
    now = sa.func.now()
    guard = _is("running", "paused")
    if not _update_if(connection, import_id, guard, status="cancelled", finished_at=now):
        raise _wrong_state(connection, import_id, "only a running or paused one can be cancelled")
    return ledger.next_summary(connection, import_id)


def retry(connection: sa.Connection, import_id: str) -> Summary:
    """Make quarantined chunks pending again. Nudge the plan after the commit."""
    chunk = import_chunks.c
    given_up = (chunk.import_id == import_id, chunk.status == "quarantined")
    guard = _is("running", "failed") & sa.exists().where(*given_up)
    cleared = {"nudged_at": sa.func.now(), "finished_at": None, "error": None}
    if not _update_if(connection, import_id, guard, status="running", **cleared):
        possible = (
            "only chunks that were given up can be tried again, while it is running or failed"
        )
        raise _wrong_state(connection, import_id, possible)
    pending = {"status": "pending", "attempts": 0, "error": None, "finished_at": None}
    connection.execute(sa.update(import_chunks).where(*given_up).values(pending))
    return ledger.next_summary(connection, import_id)


def reset_uncounted_starts(stream: Redis, import_id: str) -> None:
    """Delete the counts of uncounted starts: retried chunks have `CHUNK_ATTEMPTS` starts again.

    Raises:
        redis.RedisError: Redis cannot be reached.
    """
    stream.delete(import_uncounted_starts(import_id))


def _is(*statuses: str) -> sa.ColumnElement[bool]:
    return imports.c.status.in_(statuses)


def _update_if(
    connection: sa.Connection, import_id: str, guard: sa.ColumnElement[bool], **values: object
) -> bool:
    """Change an import if the guard holds; whether it did. Its row stays locked."""
    change = sa.update(imports).where(imports.c.id == import_id, guard)
    return bool(connection.execute(change.values(values)).rowcount)


def _wrong_state(connection: sa.Connection, import_id: str, possible: str) -> WrongState:
    summary = ledger.import_summary(connection, import_id)
    return WrongState(f"import {import_id} is {summary['status']}; {possible}")
