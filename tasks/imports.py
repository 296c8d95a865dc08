"""Tasks of imports: plan an accepted file, load its chunks."""

import time
from typing import Any

from orderworks.core.routing import TaskName
from tasks.base import task
from worker.lifecycle import current

YIELD_PAUSE = 0.5
"""Seconds that a chunk waits before it queues again, behind the updates for the same worker."""


@task(TaskName.PLAN_IMPORT, soft_time_limit=240, time_limit=280)
def plan_import(import_id: str) -> int:
    """Cut an accepted file into chunks and nudge each; the number of chunks.

    Twice: the ledger keeps the first plan, and chunks that are not done are nudged again. Failing:
    the manifest stays in the spool, and the sweep nudges, until too many starts have failed. The
    whole file is read, so it may take longer than other tasks.
    """
    numbers = current().importer.plan(import_id)
    for number in numbers:
        load_chunk.delay(import_id, number)
    return len(numbers)


@task(TaskName.LOAD_CHUNK, soft_time_limit=240, time_limit=280)
def load_chunk(import_id: str, number: int) -> dict[str, Any] | None:
    """Load one chunk; the progress of its import, or None if the chunk is done or being loaded.

    Twice, or concurrently: one of them locks the chunk, and it is loaded once. Killed: the chunk is
    pending as before, one start is counted, and the sweep nudges. While order updates wait for too
    long, the message returns to the end of the queue. A strict file is one chunk, so it may take
    longer than other tasks.
    """
    importer = current().importer
    if importer.must_yield():
        time.sleep(YIELD_PAUSE)
        load_chunk.delay(import_id, number)
        return None
    step = importer.load_chunk(import_id, number)
    if step is None:
        return None
    for overtaken in step.chunks_to_nudge:
        load_chunk.delay(import_id, overtaken)
    return step.summary
