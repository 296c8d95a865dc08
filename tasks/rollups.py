"""The nightly check of the rollups that reports are read from."""

from datetime import timedelta
from typing import Any

import structlog

from orderworks.core.routing import TaskName
from orderworks.reports import reconcile_runs
from orderworks.reports.reconcile_runs import ReconcilePosition
from orderworks.reports.refresh import refresh
from tasks.base import summary, task
from worker.beat.schedule import slot_of
from worker.lifecycle import current

log = structlog.get_logger()

RECENT_ENOUGH = timedelta(hours=1)
"""Age of the last finished check up to which a message without a beat slot starts no new one."""

SLICE_SECONDS = 3.0
"""Seconds after which a check sends itself again, so that the worker can do other tasks."""


@task(TaskName.CHECK_ROLLUPS)
def check_rollups(run: int | None = None, customer: int | None = None) -> dict[str, Any] | None:
    """Compare the rollups with the orders and correct them; return the counts of this slice, or None.

    Beat's message starts a run, once per slot; any other message only if none ended within the hour.
    Each slice sends the next one, with the run's position. Executed twice: the position has changed by
    then, so it does nothing. Killed: the transaction of its range is rolled back; if a message is lost
    the run ends, and the next night starts another.
    """
    engine = current().engine
    position = _start_run() if run is None else ReconcilePosition(run, customer)
    if position is None:
        return None
    result = reconcile_runs.reconcile_for(engine, _fold_log, position, SLICE_SECONDS)
    if result is None:
        return None
    next_position, counted = result
    if next_position.customer is None:
        _log_result(next_position.run)
    else:
        check_rollups.delay(*next_position)
    return summary(counted)


def _start_run() -> ReconcilePosition | None:
    has_slot = slot_of(check_rollups.request.headers) is not None
    with current().engine.begin() as connection:
        return reconcile_runs.start_run_if_due(
            connection, timedelta() if has_slot else RECENT_ENOUGH
        )


def _fold_log() -> None:
    resources = current()
    depth = resources.settings.report_depth
    refresh(resources.engine, resources.cache, resources.invalidate, depth)


def _log_result(run: int) -> None:
    with current().engine.connect() as connection:
        counts = reconcile_runs.counts_of_run(connection, run)
    write = log.warning if counts.total_differences else log.info
    write("rollups_checked", **summary(counts), drift=counts.total_differences)
