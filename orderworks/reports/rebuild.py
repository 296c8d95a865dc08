"""The command `orderworks rebuild`: reconciles all rollups while writers and workers continue."""

import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from orderworks.core.errors import RebuildStopped
from orderworks.reports import excluded_statuses, reconcile_runs
from orderworks.reports.reconcile import MIN_ID, ReconcileCounts
from orderworks.reports.reconcile_runs import FoldLog, ReconcilePosition


class RebuildResult(msgspec.Struct, frozen=True):
    """The result of a rebuild.

    Attributes:
        drift: what was counted, and the rows that had drifted. None if an earlier recount was
            interrupted: then drift cannot be distinguished from its remaining changes.
        recounted_for: statuses that began or ceased to count.
        recounted: what was counted for these, and the rows that changed; None without a recount.
        in_force: statuses that no report counts at the end.
        excluded: statuses that the setting names.
    """

    drift: ReconcileCounts | None
    recounted_for: tuple[str, ...]
    recounted: ReconcileCounts | None
    in_force: tuple[str, ...]
    excluded: tuple[str, ...]
    seconds: float

    @property
    def has_drifted(self) -> bool:
        """Return whether any row had drifted."""
        return self.drift is not None and self.drift.total_differences > 0


OnStep = Callable[[str, ReconcileCounts], None]
"""Called after each range with "compared" or "recounted" and the counts so far."""


class Rebuild:
    """Makes the rollups equal to the sums of the orders."""

    def __init__(self, engine: sa.Engine, fold_log: FoldLog, on_step: OnStep) -> None:
        self._engine = engine
        self._fold_log = fold_log
        self._on_step = on_step

    def run(self, excluded: tuple[str, ...]) -> RebuildResult:
        """Correct drift. Then, if `excluded` differs from the statuses in force, recount for these.

        Drift is corrected first, by the old statuses: afterwards it could not be distinguished.

        Raises:
            RebuildStopped: another rebuild recounts, or folds or writers block this one. Corrections
                made until then stay; it can be repeated.
        """
        started = time.monotonic()
        with self._engine.begin() as connection:
            is_mixed = bool(reconcile_runs.unfinished_change(connection))
            position = None if is_mixed else reconcile_runs.start_run(connection)
        drift = self._run_to_end(position, "compared") if position else None
        changed, recounted = self._change(excluded)
        return RebuildResult(drift, changed, recounted, excluded, excluded, _since(started))

    def check(self, excluded: tuple[str, ...]) -> RebuildResult:
        """Return the drift by the statuses in force, without changing anything."""
        started = time.monotonic()
        with self._engine.connect() as connection:
            in_force = excluded_statuses.read_excluded(connection)
        total = ReconcileCounts()
        customer: int | None = MIN_ID
        while customer is not None:
            customer, counted = reconcile_runs.dry_run_range(self._engine, customer)
            total += counted
            self._on_step("compared", total)
        return RebuildResult(total, (), None, in_force, excluded, _since(started))

    def _change(self, excluded: tuple[str, ...]) -> tuple[tuple[str, ...], ReconcileCounts | None]:
        """Recount if the statuses are not in force; return the changed ones and what was counted."""
        position = excluded_statuses.retry_block(self._start_change, excluded)
        if position is None:
            return (), None
        with self._engine.connect() as connection:
            changed = tuple(sorted(reconcile_runs.unfinished_change(connection)))
        return changed, self._run_to_end(position, "recounted")

    def _start_change(self, excluded: tuple[str, ...]) -> ReconcilePosition | None:
        with self._engine.begin() as connection:
            return reconcile_runs.start_status_change(connection, excluded)

    def _run_to_end(self, position: ReconcilePosition, label: str) -> ReconcileCounts:
        total = ReconcileCounts()
        while position.customer is not None:
            result = reconcile_runs.reconcile_next_range(self._engine, self._fold_log, position)
            if result is None:
                raise RebuildStopped(
                    "another `orderworks rebuild` recounts; wait until it has ended"
                )
            position, counted = result
            total += counted
            self._on_step(label, total)
        return total


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
