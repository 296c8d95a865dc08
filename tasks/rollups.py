"""The nightly check of the rollups that reports are read from."""

from datetime import timedelta
from typing import Any

import structlog

from orderworks.core.routing import TaskName
from orderworks.reports import reconcile_runs
from orderworks.reports.reconcile_runs import ReconcilePosition
from orderworks.reports.refresh import refresh
from tasks.base import summary, task
from worker.beat.slots import slot_of
from worker.lifecycle import current

log = structlog.get_logger()

RECENT_ENOUGH = timedelta(hours=1)
"""How lately a check has ended for a message that nothing guards to begin no other one."""

SLICE_SECONDS = 3.0
"""Seconds of comparing until others have the worker."""


@task(TaskName.CHECK_ROLLUPS)
def check_rollups(run: int | None = None, customer: int | None = None) -> dict[str, Any] | None:
    """Compare the rollups with the orders, and mend them; what this slice found, or nothing.

    Beat's message begins a run, as one a slot does; any other one only if none ended within the hour.
    Each slice sends the next one, with the customer that the run has come to. Twice: the run is
    elsewhere by then, so it does nothing.
    Killed: the range it was at never was; a message that is lost ends the run, and the next night
    begins another.
    """
    engine = current().engine
    if run is None:
        with engine.begin() as connection:
            is_guarded = slot_of(check_rollups.request.headers) is not None
            place = reconcile_runs.start_run_if_due(
                connection, timedelta() if is_guarded else RECENT_ENOUGH
            )
    else:
        place = ReconcilePosition(run, customer)
    worked = (
        reconcile_runs.reconcile_for(engine, _fold_log, place, SLICE_SECONDS) if place else None
    )
    if worked is None:
        return None
    following, counted = worked
    if following.customer is None:
        _log_result(following.run)
    else:
        check_rollups.delay(*following)
    return summary(counted)


def _fold_log() -> None:
    process = current()
    depth = process.settings.report_depth
    refresh(process.engine, process.cache, process.invalidate, depth)


def _log_result(run: int) -> None:
    with current().engine.connect() as connection:
        found = reconcile_runs.counts_of_run(connection, run)
    tell = log.warning if found.total_differences else log.info
    tell("rollups_checked", **summary(found), drift=found.total_differences)
