"""The statuses whose orders count in no report: those in force, and their change.

What stands in the table `uncounted_statuses` is what triggers, reads and the oracle go by. The setting
UNCOUNTED_STATUSES says what is wished for; only `orderworks rebuild` brings the table to it.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from orderworks.core.errors import RebuildStopped
from orderworks.core.locks import TIMED_OUT
from orderworks.core.schema import orders, uncounted_statuses
from orderworks.reports.reconcile import lock_out_folds

LOCK_WAIT = 1.0
"""Seconds that an attempt may wait for the writers at work: those who come after it wait as long."""

ATTEMPTS = 30
PAUSE = 1.0
"""Seconds between two attempts, in which writers go on."""


def read_excluded(connection: sa.Connection) -> tuple[str, ...]:
    """The statuses that no report counts now, sorted."""
    return tuple(sorted(connection.scalars(sa.select(uncounted_statuses.c.status))))


def format_statuses(statuses: Iterable[str]) -> str:
    """The statuses as people read them."""
    return ", ".join(statuses) or "none"


def block_writers(connection: sa.Connection) -> None:
    """Let nobody write orders until the transaction ends, nor be in the middle of it.

    Raises:
        sa.exc.DBAPIError: somebody was, for longer than `LOCK_WAIT`.
        RebuildStopped: folds were at work all the time.
    """
    if not lock_out_folds(connection):
        raise RebuildStopped("Folds of the change log are at work all the time: try again later")
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_WAIT * 1000:.0f}ms'"))
    connection.execute(sa.text(f"LOCK TABLE {orders.name} IN SHARE ROW EXCLUSIVE MODE"))


def replace_excluded(connection: sa.Connection, statuses: Iterable[str]) -> set[str]:
    """Put these statuses in force; those of which orders count now and did not, or the reverse.

    Call it with the writers held off: each statement of theirs logs by one set or by the other.
    """
    wanted, found = set(statuses), set(read_excluded(connection))
    column = uncounted_statuses.c.status
    connection.execute(sa.delete(uncounted_statuses).where(column.not_in(wanted)))
    if missing := sorted(wanted - found):
        rows = [{"status": status} for status in missing]
        connection.execute(sa.insert(uncounted_statuses), rows)
    return wanted ^ found


def _is_held_up(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    return getattr(cause, "pgcode", None) == TIMED_OUT


def _give_up(state: RetryCallState) -> None:
    raise RebuildStopped(
        f"Nothing is changed: orders are written in transactions of more than {LOCK_WAIT:.0f} s, "
        f"{state.attempt_number} times. Pause imports, or try again later"
    )


retry_block = Retrying(
    retry=retry_if_exception(_is_held_up),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_fixed(PAUSE),
    retry_error_callback=_give_up,
)
"""Runs what holds writers off again, until nobody was in its way."""
