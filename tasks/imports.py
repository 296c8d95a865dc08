"""Imports: plan an accepted file, load its chunks."""

from typing import Any

from orders.names import TaskName
from tasks.task import task
from worker.lifecycle import current


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


@task(TaskName.LOAD_CHUNK)
def load_chunk(import_id: str, number: int) -> dict[str, Any] | None:
    """Load one chunk; how far its import is. Nothing if it is done or being worked on.

    Twice, or at the same time: the chunk's row is locked by one, and done once. Killed: the row is
    pending as before, one start is counted, and the sweep nudges.
    """
    return current().importer.load_chunk(import_id, number)
