"""Reports: the task that folds the change log and publishes the reports."""

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
    """Publish the top-customers report of every window; return None if another refresh runs.

    Returns None also if there is more to fold than a time slice allows: then it sends itself again.
    Idempotent. After a failure, entries that are not folded stay in the log for the next refresh;
    readers get the last published report with its age.
    """
    resources = current()
    with suppress(redis.RedisError):
        # Changes from now on need a new nudge.
        resources.redis.delete(refresh_nudge())
    depth = resources.settings.report_depth
    refreshed = refresh(resources.engine, resources.cache, resources.invalidate, depth)
    if refreshed is None:
        return None
    if refreshed.more:
        refresh_top_customers.delay()
        return None
    # Also for a refresh that beat did not send: it does the work of beat's entry.
    record_success(REFRESH_ENTRY)
    return summary(refreshed)


@worker_ready.connect
def refresh_at_start(**_: object) -> None:
    """Refresh when a worker starts, so that readers need not wait for beat."""
    refresh_top_customers.delay()
