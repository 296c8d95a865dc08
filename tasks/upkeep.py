"""Upkeep: the sweep, which beat sends every few seconds, and the daily deletion of expired data."""

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
    """Nudge all work that has no message. Idempotent; after a failure the next sweep finds the rest."""
    resources = current()
    room = max(0, MAX_WAITING - count_messages(Queue.IMPORTS))
    lost_work = find_lost_work(resources.engine, resources.stream, resources.importer, room)
    if lost_work is None:
        return None
    for shard in lost_work.shards:
        drain_updates.delay(shard)
    for import_id in lost_work.unplanned:
        plan_import.delay(import_id)
    for import_id, number in lost_work.chunks:
        load_chunk.delay(import_id, number)
    return summary(lost_work)


@task(TaskName.PURGE_EXPIRED)
def purge_expired() -> dict[str, Any]:
    """Delete files, ledger rows and dead letters past their retention. Idempotent."""
    resources = current()
    return summary(
        retention.purge_expired(resources.engine, resources.importer.spool, resources.settings)
    )
