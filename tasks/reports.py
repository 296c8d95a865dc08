"""Reports: fold the change log and publish what follows from it."""

from typing import Any

from celery.signals import worker_ready

from orders import reports
from orders.names import TaskName
from tasks.task import summary, task
from worker.lifecycle import current


@task(TaskName.REFRESH_TOP_CUSTOMERS)
def refresh_top_customers() -> dict[str, Any] | None:
    """Publish the top-customers report of every window; nothing if another refresh is at it.

    Failing half way: the log that is not folded stays for the next refresh; readers keep the last
    published report with its age.
    """
    process = current()
    refreshed = reports.refresh(
        process.engine, process.cache, process.invalidate, process.settings.report_depth
    )
    return None if refreshed is None else summary(refreshed)


@worker_ready.connect
def refresh_at_start(**_: object) -> None:
    """Do not let readers wait for beat's first round: refresh when a worker comes up."""
    refresh_top_customers.delay()
