"""The guard of beat's messages: one of a slot is run, and what became of it is noted.

Beat and its lock decide who sends; that cannot be certain. What is run is decided here, in the
database. Messages that are not beat's (nudges, by hand, at a worker's start) pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
import structlog
from celery import Task

from worker.beat import slots
from worker.beat.slots import Slot
from worker.lifecycle import current

P = ParamSpec("P")
R = TypeVar("R")

TAKEN = {"skipped": "its slot is taken, or its entry paused"}
"""The result of a message that was not run."""

log = structlog.get_logger()


class GuardedTask(Task[P, R]):
    """A task that is run once a slot, where beat asks for it.

    A result of None says that it left the work to another run; that is no success.
    """

    abstract = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - or TAKEN
        """Run, unless the message is beat's and its slot is taken."""
        slot = slots.slot_of(self.request.headers)
        if slot is None:
            return self.run(*args, **kwargs)
        if not self._claim(slot):
            log.info("beat_slot_taken", entry=slot.entry)
            return TAKEN
        return self._run_in(slot, *args, **kwargs)

    def _claim(self, slot: Slot) -> bool:
        with current().engine.begin() as connection:
            return slots.claim(connection, slot, self.name, str(self.request.id))

    def _run_in(self, slot: Slot, *args: Any, **kwargs: Any) -> R:  # noqa: ANN401 - P's
        try:
            result = self.run(*args, **kwargs)
        except Exception as error:
            _note(partial(slots.note_failure, entry=slot.entry, error=_said(error)))
            raise
        if result is not None:
            note_success(slot.entry)
        return result


def note_success(entry: str) -> None:
    """Note that what the entry is for was done now."""
    _note(partial(slots.note_success, entry=entry))


def _note(write: Callable[[sa.Connection], None]) -> None:
    """Note what became of a run. That PostgreSQL is away by now changes nothing about it."""
    try:
        with current().engine.begin() as connection:
            write(connection)
    except sa.exc.SQLAlchemyError as error:
        log.warning("beat_run_not_noted", error=str(error).strip())


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
