"""Whether something older than an import may still be written after it.

An import leaves rows that are equal to the table's as they are, versions included: nothing is written.
An older write that comes late would then still apply, although the file is the later word. So equal rows
get the import's version wherever such a write may be on its way.
"""

import redis
import sqlalchemy as sa

from orders.imports.claims import Work
from orders.imports.spool import Spool
from orders.schema import import_chunks, imports, parked_updates
from orders.stream import UpdateStream


def may_come(connection: sa.Connection, stream: UpdateStream, spool: Spool, work: Work) -> bool:
    """Whether an update or an import accepted before this one has not been applied yet.

    Rows with versions of their own, and mended ones, may always be followed by older ones: nobody knows.
    """
    return (
        "version" in work.mapping
        or work.parent is not None
        or _older_update_waits(stream, work)
        or bool(connection.scalar(sa.select(_older_update_is_parked(work) | _older_import(work))))
        or any(each != work.import_id for each in spool.waiting())
    )


def _older_update_waits(stream: UpdateStream, work: Work) -> bool:
    newest = newest_version(work)
    try:
        oldest = [stream.read(shard, 1) for shard in range(stream.shards)]
    except redis.RedisError:
        return True
    return any(entries and entries[0].version <= newest for entries in oldest)


def newest_version(work: Work) -> int:
    """No row of the chunk has a higher version, unless it brings its own."""
    return work.version + work.chunk.end_byte


def _older_update_is_parked(work: Work) -> sa.Exists:
    return sa.exists().where(parked_updates.c.entry <= newest_version(work))


def _older_import(work: Work) -> sa.Exists:
    """An earlier import that is not done with all of its chunks, or may be tried again."""
    unfinished = sa.exists().where(
        import_chunks.c.import_id == imports.c.id, import_chunks.c.status != "done"
    )
    return sa.exists().where(
        imports.c.id != work.import_id,
        imports.c.version <= work.version,
        imports.c.status != "cancelled",
        unfinished,
    )
