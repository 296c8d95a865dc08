"""Upkeep: the sweep that beat asks for every few seconds, and the purge, once a day."""

from typing import Any

from orders import retention
from orders.names import Queue, TaskName
from orders.sweep import MOST_WAITING, find_forgotten, note_sweep
from tasks.imports import load_chunk, plan_import
from tasks.task import summary, task
from tasks.updates import drain_updates
from worker.celery import app
from worker.lifecycle import current


@task(TaskName.SWEEP)
def sweep() -> dict[str, Any] | None:
    """Nudge whatever waits without a message. Twice or failing: the next sweep finds the rest."""
    process = current()
    room = max(0, MOST_WAITING - _waiting(Queue.IMPORTS))
    forgotten = find_forgotten(process.engine, process.stream, process.importer, room)
    if forgotten is None:
        return None
    for shard in forgotten.shards:
        drain_updates.delay(shard)
    for import_id in forgotten.unplanned:
        plan_import.delay(import_id)
    for import_id, number in forgotten.chunks:
        load_chunk.delay(import_id, number)
    note_sweep(process.redis)
    return summary(forgotten)


@task(TaskName.PURGE_EXPIRED)
def purge_expired() -> dict[str, Any]:
    """Delete files, ledgers and dead letters past their retention. Twice: the second finds nothing."""
    process = current()
    return summary(
        retention.purge_expired(process.engine, process.importer.spool, process.settings)
    )


def _waiting(queue: Queue) -> int:
    """How many messages no worker has taken yet."""
    with app.connection_or_acquire() as connection:
        # Declared, not looked up: an empty queue is one that Redis does not have.
        return int(connection.default_channel.queue_declare(queue.value).message_count)
