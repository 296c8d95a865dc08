"""Reports: fold the change log and publish what follows from it."""

from typing import Any

from celery.signals import worker_ready

from orders.names import TaskName
from orders.refresh import PATIENCE, refresh
from tasks.task import summary, task
from worker.lifecycle import current


@task(TaskName.REFRESH_TOP_CUSTOMERS)
def refresh_top_customers(patience: float = PATIENCE) -> dict[str, Any] | None:
    """Publish the top-customers report of every window; nothing if another refresh is at it.

    For that one to end it waits `patience` seconds. Failing half way: the log that is not
    folded stays for the next refresh; readers keep the last published report with its age.
    """
    process = current()
    depth = process.settings.report_depth
    refreshed = refresh(process.engine, process.cache, process.invalidate, depth, patience)
    if refreshed is None:
        return None
    if refreshed.more:
        refresh_top_customers.delay(patience)
    return summary(refreshed)


@worker_ready.connect
def refresh_at_start(**_: object) -> None:
    """Do not let readers wait for beat's first round: refresh when a worker comes up."""
    refresh_top_customers.delay()
