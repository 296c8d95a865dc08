"""Finds writes that are older than an import and still pending.

An import leaves rows that are equal to the table's as they are, versions included: nothing is written.
A pending older write would then still apply, although the file is newer. So equal rows get the import's
version wherever such a write may be pending.
"""

from datetime import timedelta

import redis
import sqlalchemy as sa

from orderworks.core.schema import import_chunks, imports, parked_updates
from orderworks.imports.chunk_attempt import ChunkWork
from orderworks.imports.spool import Spool
from orderworks.updates.outbox import ENQUEUED_VERSION
from orderworks.updates.stream import UpdateStream

MAX_CHUNK_TIME = timedelta(minutes=5)
"""Time after the end of an import by which its running chunks are done, or their tasks killed."""


def older_write_pending(
    connection: sa.Connection, stream: UpdateStream, spool: Spool, work: ChunkWork
) -> bool:
    """Return whether an update or an import accepted before this one has not been applied yet.

    Always true of rows that are older than their acceptance: what writes are pending that are older
    still is unknown.
    """
    # Pending work moves from spool and stream to the database: so that is checked last.
    return (
        work.is_backdated
        or any(each != work.import_id for each in spool.list_waiting())
        or _older_update_waits(stream, work)
        or bool(connection.scalar(sa.select(_older_update_is_stored(work) | _older_import(work))))
    )


def _older_update_waits(stream: UpdateStream, work: ChunkWork) -> bool:
    newest = max_version(work)
    try:
        oldest = [stream.read(shard, 1) for shard in stream.all_shards()]
    except redis.RedisError:
        return True
    return any(entries and entries[0].version <= newest for entries in oldest)


def max_version(work: ChunkWork) -> int:
    """The highest version of the chunk's rows that have none of their own, or one above it."""
    return work.version + work.chunk.end_byte


def _older_update_is_stored(work: ChunkWork) -> sa.ColumnElement[bool]:
    """True if an older update is parked, or waits in the outbox."""
    newest = max_version(work)
    return sa.or_(
        sa.exists().where(parked_updates.c.entry <= newest),
        sa.exists().where(newest >= ENQUEUED_VERSION),
    )


def _older_import(work: ChunkWork) -> sa.Exists:
    """An earlier import of the same kind that may still write.

    It is running or paused, or has just ended while chunks were being loaded, or may be retried.
    """
    chunk = import_chunks.alias("of_other").c
    of_other = sa.exists().where(chunk.import_id == imports.c.id)
    is_active = imports.c.status.in_(("running", "paused"))
    just_ended = imports.c.finished_at > sa.func.now() - MAX_CHUNK_TIME
    return sa.exists().where(
        imports.c.id != work.import_id,
        imports.c.kind == work.kind,
        imports.c.version <= work.version,
        is_active
        | (just_ended & of_other.where(chunk.status == "pending"))
        | of_other.where(chunk.status == "quarantined"),
    )
