"""Imports: plan an accepted file, load its chunks."""

import time
from typing import Any

from orderworks.core.routing import TaskName
from tasks.base import task
from worker.lifecycle import current

YIELD_PAUSE = 0.5
"""Seconds that a chunk waits before it queues again, behind the updates that the same worker takes."""


@task(TaskName.PLAN_IMPORT, soft_time_limit=240, time_limit=280)
def plan_import(import_id: str) -> int:
    """Cut an accepted file into chunks and nudge each; how many.

    Twice: the ledger keeps the first plan, chunks that are not done are nudged again. Failing half
    way: the manifest is still in the spool, and the sweep nudges, until too many starts failed. A
    file is read as a whole, so it may take longer than other tasks.
    """
    numbers = current().importer.plan(import_id)
    for number in numbers:
        load_chunk.delay(import_id, number)
    return len(numbers)


@task(TaskName.LOAD_CHUNK, soft_time_limit=240, time_limit=280)
def load_chunk(import_id: str, number: int) -> dict[str, Any] | None:
    """Load one chunk; how far its import is. Nothing if it is done or being worked on.

    Twice, or at the same time: the chunk's row is locked by one, and done once. Killed: the row is
    pending as before, one start is counted, and the sweep nudges. While order updates wait for too
    long, it goes back to the end of the queue. A file that is strict is one chunk, so it may take
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
