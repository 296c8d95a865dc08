"""Whether something older than an import may still be written after it.

An import leaves rows that are equal to the table's as they are, versions included: nothing is written.
An older write that comes late would then still apply, although the file is the later word. So equal rows
get the import's version wherever such a write may be on its way.
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
"""A chunk that was at work when its import ended is done, or its task was killed, by then."""


def older_write_pending(
    connection: sa.Connection, stream: UpdateStream, spool: Spool, work: ChunkWork
) -> bool:
    """Whether an update or an import accepted before this one has not been applied yet.

    Mended rows may always be followed by older ones: nobody knows.
    """
    # What waits moves on from spool and stream to the database: so that is asked last.
    return (
        work.parent is not None
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
    """No row of the chunk has a higher version, unless it brings its own."""
    return work.version + work.chunk.end_byte


def _older_update_is_stored(work: ChunkWork) -> sa.ColumnElement[bool]:
    """Whether one is parked, or waits in the outbox."""
    newest = max_version(work)
    return sa.or_(
        sa.exists().where(parked_updates.c.entry <= newest),
        sa.exists().where(newest >= ENQUEUED_VERSION),
    )


def _older_import(work: ChunkWork) -> sa.Exists:
    """An earlier import of the same kind that may still write.

    It is under way, or has just been ended while chunks were at work, or may be tried again.
    """
    chunk = import_chunks.alias("of_other").c
    of_other = sa.exists().where(chunk.import_id == imports.c.id)
    under_way = imports.c.status.in_(("running", "paused"))
    just_ended = imports.c.finished_at > sa.func.now() - MAX_CHUNK_TIME
    return sa.exists().where(
        imports.c.id != work.import_id,
        imports.c.kind == work.kind,
        imports.c.version <= work.version,
        under_way
        | (just_ended & of_other.where(chunk.status == "pending"))
        | of_other.where(chunk.status == "quarantined"),
    )
