"""The schedule as configured: beat's entries, and the options that their messages carry.

`celeryconfig.py` reads this module, so it imports neither Celery nor SQLAlchemy.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from orderworks.core.routing import REFRESH_ENTRY, TaskName
from orderworks.core.settings import Settings

DAY = 24 * 3600.0

HEADER = "orderworks-beat"
"""The header of beat's messages. A message without it is a nudge or was sent by hand; it is not
guarded."""


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """The entry that a message of beat asks to run.

    Attributes:
        every: the configured period in seconds. It counts until the database has the entry.
        forced: run at once, even if the slot is taken: a person asked.
    """

    entry: str
    every: float
    forced: bool = False


def make_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return `beat_schedule` for Celery: each entry's task, period and message options, by name."""
    periods = {
        REFRESH_ENTRY: (TaskName.REFRESH_TOP_CUSTOMERS, settings.report_interval),
        "sweep": (TaskName.SWEEP, settings.sweep_interval),
        "check-rollups": (TaskName.CHECK_ROLLUPS, DAY),
        "purge-expired": (TaskName.PURGE_EXPIRED, DAY),
    }
    return {
        entry: {
            "task": task.value,
            "schedule": timedelta(seconds=every),
            "options": message_options(Slot(entry, every)),
        }
        for entry, (task, every) in periods.items()
    }


def message_options(slot: Slot) -> dict[str, Any]:
    """Return the options of a message that asks for a slot.

    It does not expire: workers would decide by their own clocks which message is too old. PostgreSQL
    decides that, when the slot is claimed.
    """
    return {"headers": {HEADER: msgspec.to_builtins(slot)}}


def slot_of(headers: Mapping[str, Any] | None) -> Slot | None:
    """Return the slot that a message with these headers asks for; None if beat did not send it."""
    value = (headers or {}).get(HEADER)
    return None if value is None else msgspec.convert(value, Slot)
