"""Declaration of tasks: the decorator `task`, and the guard that runs one message of beat per slot.

More than one beat may send at times, and a message may be delivered twice. So the worker claims the
slot in the database before it runs the task, and records the result there. Messages that beat did not
send (nudges, by hand, at a worker's start) are run unguarded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from celery import Task

from orderworks.core.database import retry_transient
from orderworks.core.routing import TaskName
from worker.beat import slots
from worker.beat.schedule import Slot, slot_of
from worker.celery import app
from worker.lifecycle import current

P = ParamSpec("P")
R = TypeVar("R")

SKIPPED = {"skipped": "its slot is taken, or its entry paused"}
"""The result of a message that was skipped."""

log = structlog.get_logger()


class GuardedTask(Task[P, R]):
    """A task that is run once per slot if beat sends it.

    It returns None if it left the work to another run; that is not recorded as a success.
    """

    abstract = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - or SKIPPED
        """Run the task, unless beat sent the message and its slot is already claimed."""
        slot = slot_of(self.request.headers)
        if slot is None:
            return self.run(*args, **kwargs)
        if not claim_slot(slot, self.name, str(self.request.id)):
            log.info("beat_slot_already_claimed", entry=slot.entry)
            return SKIPPED
        return self._run_in(slot, *args, **kwargs)

    def _run_in(self, slot: Slot, *args: Any, **kwargs: Any) -> R:  # noqa: ANN401 - P's
        try:
            result = self.run(*args, **kwargs)
        except Exception as error:
            _record(partial(slots.record_failure, entry=slot.entry, error=_error_text(error)))
            raise
        if result is not None:
            record_success(slot.entry)
        return result


@retry_transient
def claim_slot(slot: Slot, task: str, message_id: str) -> bool:
    """Claim the slot for this message of the task; return whether to run it."""
    with current().engine.begin() as connection:
        return slots.claim(connection, slot, task, message_id)


def record_success(entry: str) -> None:
    """Record that the work of the entry succeeded now."""
    _record(partial(slots.record_success, entry=entry))


def _record(write: Callable[[sa.Connection], None]) -> None:
    """Record the result of a run. The run stands even if PostgreSQL is unavailable by now."""
    try:
        with current().engine.begin() as connection:
            write(connection)
    except sa.exc.SQLAlchemyError as error:
        log.warning("beat_run_record_failed", error=str(error).strip())


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


RETRY_DELAY = 1
"""Seconds after which the message of a killed child is delivered again. By then PostgreSQL has ended
the child's session and released its locks, which would make the next run skip the work. Celery's
default is three minutes."""


def task(
    name: TaskName,
    *,
    max_retries: int = 3,
    soft_time_limit: int | None = None,
    time_limit: int | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Register a function as the task `name`.

    The limits are in seconds and override those of `celeryconfig`. They too must be below the
    visibility timeout.

    `max_retries` bounds how often a message whose child was killed is delivered again; after that the
    sweep has to find the work. Celery ignores misspelt options, so only known ones are parameters.

    If beat sends the task, it is run once per slot; see `GuardedTask`.
    """

    def register(function: Callable[P, R]) -> Task[P, R]:
        options: dict[str, Any] = {
            "base": GuardedTask,
            "max_retries": max_retries,
            "default_retry_delay": RETRY_DELAY,
            "soft_time_limit": soft_time_limit,
            "time_limit": time_limit,
        }
        decorate: Any = app.task(name=name.value, **options)
        registered: Any = decorate(function)
        return registered  # type: ignore[no-any-return]  # Celery's decorator is untyped

    return register


def summary(outcome: msgspec.Struct) -> dict[str, Any]:
    """Return a task's outcome as Flower and the log show it."""
    plain: dict[str, Any] = msgspec.to_builtins(outcome)
    return plain
