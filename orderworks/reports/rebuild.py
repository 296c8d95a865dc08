"""Comparing all rollups with the orders table at once, while others work: `orderworks rebuild`."""

import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from orderworks.core.errors import RebuildStopped
from orderworks.reports import excluded_statuses, reconcile_runs
from orderworks.reports.reconcile import MIN_ID, ReconcileCounts
from orderworks.reports.reconcile_runs import FoldLog, ReconcilePosition


class RebuildResult(msgspec.Struct, frozen=True):
    """What was counted and found.

    Attributes:
        drift: what was counted, and the rows that had drifted. None where that cannot be told, because
            an earlier recount was broken off.
        recounted_for: statuses whose orders count now and did not, or the reverse.
        recounted: what was counted then, and the rows that changed by it; None if that was not needed.
        in_force: statuses that no report counts in the end.
        wanted: those that the setting names.
    """

    drift: ReconcileCounts | None
    recounted_for: tuple[str, ...]
    recounted: ReconcileCounts | None
    in_force: tuple[str, ...]
    excluded: tuple[str, ...]
    seconds: float

    @property
    def has_drifted(self) -> bool:
        """Whether anything had."""
        return self.drift is not None and self.drift.total_differences > 0


OnStep = Callable[[str, ReconcileCounts], None]
"""Is told after each range what the rows were counted for, and how far that is."""


class Rebuild:
    """Makes the rollups what the orders table says."""

    def __init__(self, engine: sa.Engine, fold_log: FoldLog, on_step: OnStep) -> None:
        self._engine = engine
        self._fold_log = fold_log
        self._on_step = on_step

    def run(self, excluded: tuple[str, ...]) -> RebuildResult:
        """Mend what drifted. Then, if other statuses are wanted than are in force, recount for those.

        What drifted is looked for first, by the old statuses: afterwards it could not be told apart.

        Raises:
            RebuildStopped: another one recounts, or others do not let it through. What was mended
                until then stays so; it can be done again.
        """
        began = time.monotonic()
        with self._engine.begin() as connection:
            is_mixed = bool(reconcile_runs.unfinished_change(connection))
            place = None if is_mixed else reconcile_runs.start_run(connection)
        drift = self._run_to_end(place, "compared") if place else None
        changed, recounted = self._change(excluded)
        return RebuildResult(drift, changed, recounted, excluded, excluded, _since(began))

    def check(self, excluded: tuple[str, ...]) -> RebuildResult:
        """What has drifted, by the statuses in force. Nothing is changed."""
        began = time.monotonic()
        with self._engine.connect() as connection:
            force = excluded_statuses.read_excluded(connection)
        total = ReconcileCounts()
        customer: int | None = MIN_ID
        while customer is not None:
            customer, counted = reconcile_runs.dry_run_range(self._engine, customer)
            total += counted
            self._on_step("compared", total)
        return RebuildResult(total, (), None, force, excluded, _since(began))

    def _change(self, excluded: tuple[str, ...]) -> tuple[tuple[str, ...], ReconcileCounts | None]:
        """Recount for statuses that are not in force; for which, and what that found."""
        place = excluded_statuses.retry_block(self._start_change, excluded)
        if place is None:
            return (), None
        with self._engine.connect() as connection:
            changed = tuple(sorted(reconcile_runs.unfinished_change(connection)))
        return changed, self._run_to_end(place, "recounted")

    def _start_change(self, excluded: tuple[str, ...]) -> ReconcilePosition | None:
        with self._engine.begin() as connection:
            return reconcile_runs.start_status_change(connection, excluded)

    def _run_to_end(self, position: ReconcilePosition, label: str) -> ReconcileCounts:
        total = ReconcileCounts()
        while position.customer is not None:
            stepped = reconcile_runs.reconcile_next_range(self._engine, self._fold_log, position)
            if stepped is None:
                raise RebuildStopped("another `orderworks rebuild` recounts; wait until it ended")
            position, counted = stepped
            total += counted
            self._on_step(label, total)
        return total


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
