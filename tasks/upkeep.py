"""Upkeep: the sweep that beat asks for every few seconds, and the purge, once a day."""

from typing import Any

from orderworks.core.routing import Queue, TaskName
from orderworks.maintenance import retention
from orderworks.maintenance.sweep import MAX_WAITING, find_lost_work
from tasks.base import summary, task
from tasks.imports import load_chunk, plan_import
from tasks.updates import drain_updates
from worker.broker import count_messages
from worker.lifecycle import current


@task(TaskName.SWEEP)
def sweep() -> dict[str, Any] | None:
    """Nudge whatever waits without a message. Twice or failing: the next sweep finds the rest."""
    process = current()
    room = max(0, MAX_WAITING - count_messages(Queue.IMPORTS))
    forgotten = find_lost_work(process.engine, process.stream, process.importer, room)
    if forgotten is None:
        return None
    for shard in forgotten.shards:
        drain_updates.delay(shard)
    for import_id in forgotten.unplanned:
        plan_import.delay(import_id)
    for import_id, number in forgotten.chunks:
        load_chunk.delay(import_id, number)
    return summary(forgotten)


@task(TaskName.PURGE_EXPIRED)
def purge_expired() -> dict[str, Any]:
    """Delete files, ledgers and dead letters past their retention. Twice: the second finds nothing."""
    process = current()
    return summary(
        retention.purge_expired(process.engine, process.importer.spool, process.settings)
    )
