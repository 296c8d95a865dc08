"""The sweep: finds work whose message was lost. Where nothing was lost it finds nothing.

Messages are nudges; the work lies in the update streams, the spool and the ledgers. So whatever becomes
of a message, the work is found here.
"""

from datetime import timedelta
from itertools import islice

import msgspec
import redis
import sqlalchemy as sa
import structlog

from orderworks.core import keys
from orderworks.core.errors import Backpressure, ConfigurationError, OrderworksError, Unavailable
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.routing import OUTBOX
from orderworks.core.schema import update_shards
from orderworks.imports.importer import Importer
from orderworks.imports.ledger import unfinished_complete_imports
from orderworks.imports.pending_chunks import abandoned_chunks
from orderworks.imports.planner import PLAN_SECONDS
from orderworks.updates import outbox, parking, verdicts
from orderworks.updates.stream import UpdateStream

log = structlog.get_logger()

QUIET_SWEEPS = 3
"""Without a sign of life for so many sweeps, the pending chunks of an import are nudged again."""


MAX_WAITING = 100
"""With so many messages in the queue of imports, the sweep adds none: what waits there may be of the
very work that seems forgotten, because its turn has not come or its workers are down. Lost messages
are not in the queue, so it drains, and then they are replaced."""


class LostWork(msgspec.Struct, frozen=True):
    """Work that nobody seems to be coming for: shards, imports to plan, chunks to load."""

    shards: list[int]
    unplanned: list[str]
    chunks: list[tuple[str, int]]


def find_lost_work(
    engine: sa.Engine, stream: UpdateStream, importer: Importer, room: int = MAX_WAITING
) -> LostWork | None:
    """What to nudge; None if another sweep is at it. Imports that are complete are finished here.

    Of imports and of chunks, `room` at the most, which is what the queue of imports can take.
    """
    _ensure_layout(stream)
    quiet = timedelta(seconds=QUIET_SWEEPS * importer.settings.sweep_interval)
    with engine.begin() as connection:
        if not try_lock(connection, Lock.SWEEP):
            return None
        due = _shards_with_due(connection)
        known = {*stream.all_shards(), *_known_shards(connection)}
        chunks = abandoned_chunks(connection, quiet, room)
        complete = unfinished_complete_imports(connection)
    for import_id in complete:
        chunks += _finish(importer, import_id)
    silent = (each for each in _waiting(importer) if _acquire_plan_nudge(importer.stream, each))
    unplanned = list(islice(silent, room))
    shards = [shard for shard in sorted(known | due) if _is_unattended(stream, shard, due)]
    return LostWork(shards, unplanned, chunks)


def _ensure_layout(stream: UpdateStream) -> None:
    """Let a new system have as many shards as its workers say; tell if an old one has others."""
    try:
        stream.ensure_layout()
    except ConfigurationError as error:
        log.error("update_shards_differ", error=str(error))  # noqa: TRY400 - the message says it all
    except Backpressure as changing:
        log.warning("updates_are_resharded", error=str(changing))
    except redis.exceptions.OutOfMemoryError as error:
        log.warning("redis_is_full", error=str(error))  # What drains make room with comes next.


def _shards_with_due(connection: sa.Connection) -> set[int]:
    """Where the database knows of something to be done now."""
    due = parking.shards_with_due(connection) | verdicts.shards_with_overdue(connection)
    return due | {OUTBOX} if outbox.waits(connection) else due


def _known_shards(connection: sa.Connection) -> set[int]:
    """Shards that were ever drained: with fewer of them now, an old one may still hold something."""
    return set(connection.scalars(sa.select(update_shards.c.shard)))


def _finish(importer: Importer, import_id: str) -> list[tuple[str, int]]:
    """Finish an import; the chunks of it that have to be looked at again.

    One that cannot be finished holds nothing else up.
    """
    try:
        return [(import_id, number) for number in importer.finish(import_id).chunks_to_nudge]
    except (OrderworksError, sa.exc.SQLAlchemyError) as error:
        log.warning("import_not_finished", import_id=import_id, error=str(error))
        return []


def _waiting(importer: Importer) -> list[str]:
    """Imports that nobody planned; none while the spool is away, which holds nothing else up."""
    try:
        return importer.spool.list_waiting()
    except Unavailable as error:
        log.warning("spool_unavailable", error=str(error))
        return []


def _is_unattended(stream: UpdateStream, shard: int, due: set[int]) -> bool:
    """Whether something waits in the shard, and no nudge or drain is under way."""
    return (shard in due or stream.length(shard) > 0) and stream.acquire_nudge(shard)


def _acquire_plan_nudge(client: Redis, import_id: str) -> bool:
    """A plan may take longer than the time between two sweeps: nudge it once in a while only."""
    return bool(client.set(keys.import_nudge(import_id), b"1", nx=True, ex=PLAN_SECONDS))
