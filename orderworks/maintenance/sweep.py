"""The sweep: finds work whose message was lost. If no message was lost, it finds nothing.

Messages are nudges; the work itself is in the update streams, the spool and the ledgers. So work is
found here even if all of its messages are lost.
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
from orderworks.updates import outbox, parking, tracked_verdicts
from orderworks.updates.stream import UpdateStream

log = structlog.get_logger()

QUIET_SWEEPS = 3
"""Number of sweep intervals without progress after which an import's pending chunks are nudged again."""

MAX_WAITING = 100
"""Number of messages in the queue of imports from which the sweep adds none. Work that seems lost may
have its message in the queue, because the queue is long or its workers are down. Lost messages are not
in the queue: so it becomes shorter, and then the sweep replaces them."""


class LostWork(msgspec.Struct, frozen=True):
    """Work that seems to have no message: shards to drain, imports to plan, chunks to load."""

    shards: list[int]
    unplanned: list[str]
    chunks: list[tuple[str, int]]


def find_lost_work(
    engine: sa.Engine, stream: UpdateStream, importer: Importer, room: int = MAX_WAITING
) -> LostWork | None:
    """Return what to nudge; None if another sweep runs. Finish imports whose chunks are all settled.

    Returns at most `room` imports and `room` chunks, which is what the queue of imports can take.
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
    to_nudge = (each for each in _unplanned(importer) if _acquire_plan_nudge(importer.stream, each))
    unplanned = list(islice(to_nudge, room))
    shards = [shard for shard in sorted(known | due) if _is_unattended(stream, shard, due)]
    return LostWork(shards, unplanned, chunks)


def _ensure_layout(stream: UpdateStream) -> None:
    """Set the number of shards in a new system; log if it has another one than this worker."""
    try:
        stream.ensure_layout()
    except ConfigurationError as error:
        log.error("shard_count_mismatch", error=str(error))  # noqa: TRY400 - no traceback needed
    except Backpressure as error:
        log.warning("resharding_in_progress", error=str(error))
    except redis.exceptions.OutOfMemoryError as error:
        log.warning("redis_out_of_memory", error=str(error))  # Drains free memory: continue.


def _shards_with_due(connection: sa.Connection) -> set[int]:
    """Return the shards with work recorded in the database that is due now."""
    due = parking.shards_with_due(connection) | tracked_verdicts.shards_with_overdue(connection)
    return due | {OUTBOX} if outbox.waits(connection) else due


def _known_shards(connection: sa.Connection) -> set[int]:
    """Return all shards ever drained: after resharding to fewer, an old one may still have entries."""
    return set(connection.scalars(sa.select(update_shards.c.shard)))


def _finish(importer: Importer, import_id: str) -> list[tuple[str, int]]:
    """Finish an import; return its chunks that have to be nudged.

    An error is logged, so that it does not block the rest of the sweep.
    """
    try:
        return [(import_id, number) for number in importer.finish(import_id).chunks_to_nudge]
    except (OrderworksError, sa.exc.SQLAlchemyError) as error:
        log.warning("import_finish_failed", import_id=import_id, error=str(error))
        return []


def _unplanned(importer: Importer) -> list[str]:
    """Return the imports without a plan; none while the spool is unavailable, which is logged."""
    try:
        return importer.spool.list_waiting()
    except Unavailable as error:
        log.warning("spool_unavailable", error=str(error))
        return []


def _is_unattended(stream: UpdateStream, shard: int, due: set[int]) -> bool:
    """Return whether the shard has work and neither a nudge nor a running drain."""
    return (shard in due or stream.length(shard) > 0) and stream.acquire_nudge(shard)


def _acquire_plan_nudge(client: Redis, import_id: str) -> bool:
    """Return whether to nudge the plan: not within `PLAN_SECONDS`, as planning may outlast a sweep."""
    return bool(client.set(keys.import_nudge(import_id), b"1", nx=True, ex=PLAN_SECONDS))
