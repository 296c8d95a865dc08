"""The statuses whose orders count in no report: those in force, and their change.

Triggers, reads and reports use the table `uncounted_statuses`. The setting UNCOUNTED_STATUSES only names
the statuses to put in force; `orderworks rebuild` does so.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from orderworks.core.database import is_lock_timeout
from orderworks.core.errors import RebuildStopped
from orderworks.core.schema import orders, uncounted_statuses
from orderworks.reports.reconcile import lock_out_folds

LOCK_WAIT = 1.0
"""Seconds that an attempt may wait for running writers: those that start after it wait as long."""

ATTEMPTS = 30
PAUSE = 1.0
"""Seconds between two attempts, in which writers can continue."""


def read_excluded(connection: sa.Connection) -> tuple[str, ...]:
    """Return the statuses that no report counts now, sorted."""
    return tuple(sorted(connection.scalars(sa.select(uncounted_statuses.c.status))))


def format_statuses(statuses: Iterable[str]) -> str:
    """Return the statuses as text for messages."""
    return ", ".join(statuses) or "none"


def block_writers(connection: sa.Connection) -> None:
    """Block writers of orders until the transaction ends, and wait for running ones.

    Raises:
        sa.exc.DBAPIError: a writer's transaction took longer than `LOCK_WAIT`.
        RebuildStopped: folds held their lock for longer than the wait for it.
    """
    if not lock_out_folds(connection):
        raise RebuildStopped("Folds of the change log are running all the time: try again later")
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_WAIT * 1000:.0f}ms'"))
    connection.execute(sa.text(f"LOCK TABLE {orders.name} IN SHARE ROW EXCLUSIVE MODE"))


def replace_excluded(connection: sa.Connection, statuses: Iterable[str]) -> set[str]:
    """Put these statuses in force; return those that begin or cease to count.

    Call it after `block_writers`: each statement of a writer logs by one set or by the other.
    """
    new, old = set(statuses), set(read_excluded(connection))
    column = uncounted_statuses.c.status
    connection.execute(sa.delete(uncounted_statuses).where(column.not_in(new)))
    if added := sorted(new - old):
        rows = [{"status": status} for status in added]
        connection.execute(sa.insert(uncounted_statuses), rows)
    return new ^ old


def _give_up(state: RetryCallState) -> None:
    raise RebuildStopped(
        f"Nothing was changed: in {state.attempt_number} attempts, transactions that write orders "
        f"took longer than {LOCK_WAIT:.0f} s. Pause imports, or try again later"
    )


retry_block = Retrying(
    retry=retry_if_exception(is_lock_timeout),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_fixed(PAUSE),
    retry_error_callback=_give_up,
)
"""Retries a transaction that blocks writers until it acquires its locks."""
