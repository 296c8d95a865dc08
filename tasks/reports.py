"""Reports: fold the change log and publish what follows from it."""

from contextlib import suppress
from typing import Any

import redis
from celery.signals import worker_ready

from orderworks.core.keys import refresh_nudge
from orderworks.core.routing import REFRESH_ENTRY, TaskName
from orderworks.reports.refresh import refresh
from tasks.base import record_success, summary, task
from worker.lifecycle import current


@task(TaskName.REFRESH_TOP_CUSTOMERS)
def refresh_top_customers() -> dict[str, Any] | None:
    """Publish the top-customers report of every window; nothing if another refresh is at it.

    Nothing either if there is more to fold than a slice of time allows: then it sends itself again.
    Failing half way: the log that is not folded stays for the next refresh; readers keep the last
    published report with its age.
    """
    process = current()
    with suppress(redis.RedisError):
        # What is changed from now on has to be asked for anew.
        process.redis.delete(refresh_nudge())
    depth = process.settings.report_depth
    refreshed = refresh(process.engine, process.cache, process.invalidate, depth)
    if refreshed is None:
        return None
    if refreshed.more:
        refresh_top_customers.delay()
        return None
    # Whoever asked for it: that is what beat's entry is for.
    record_success(REFRESH_ENTRY)
    return summary(refreshed)


@worker_ready.connect
def refresh_at_start(**_: object) -> None:
    """Do not let readers wait for beat's first round: refresh when a worker comes up."""
    refresh_top_customers.delay()
