"""Names in Celery messages: queues, tasks, beat's entries, and the numbers used like shards."""

from collections.abc import Callable
from enum import StrEnum

Nudge = Callable[[int], None]
"""Sends the message that asks for a drain of the shard. If it is lost, the sweep sends another."""

REFRESH_ENTRY = "refresh-top-customers"
"""Beat's entry for the refresh of the reports."""

OUTBOX = -1
"""The shard number under which the outbox is drained, locked and counted."""

INGEST = -2
"""The shard number under which invalid updates of Celery messages are counted and kept."""


class Queue(StrEnum):
    """The queue of a message. Work of one kind never waits behind work of another kind."""

    UPDATES = "updates"
    """Nudges to drain a shard of the update stream, and updates of Celery clients; customers wait."""
    IMPORTS = "imports"
    """Planning an import and loading its chunks: seconds each."""
    REPORTS = "reports"
    """Refreshing the published reports, and comparing what they are read from with the orders."""
    UPKEEP = "upkeep"
    """The sweep that finds work whose message was lost, and the daily purge."""


class TaskName(StrEnum):
    """A task that a message may request, by the name under which Celery has it registered."""

    DRAIN_UPDATES = "tasks.updates.drain_updates"
    APPLY_UPDATES = "tasks.updates.apply_updates"
    PLAN_IMPORT = "tasks.imports.plan_import"
    LOAD_CHUNK = "tasks.imports.load_chunk"
    REFRESH_TOP_CUSTOMERS = "tasks.reports.refresh_top_customers"
    CHECK_ROLLUPS = "tasks.rollups.check_rollups"
    SWEEP = "tasks.upkeep.sweep"
    PURGE_EXPIRED = "tasks.upkeep.purge_expired"


QUEUE_OF: dict[TaskName, Queue] = {
    TaskName.DRAIN_UPDATES: Queue.UPDATES,
    TaskName.APPLY_UPDATES: Queue.UPDATES,
    TaskName.PLAN_IMPORT: Queue.IMPORTS,
    TaskName.LOAD_CHUNK: Queue.IMPORTS,
    TaskName.REFRESH_TOP_CUSTOMERS: Queue.REPORTS,
    TaskName.CHECK_ROLLUPS: Queue.REPORTS,
    TaskName.SWEEP: Queue.UPKEEP,
    TaskName.PURGE_EXPIRED: Queue.UPKEEP,
}
