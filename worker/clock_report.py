"""A command of remote control: each worker reports the time of its host."""

import time

from celery.worker.control import inspect_command

COMMAND = "report_clock"
"""The name of the command, which works with every broker: `celery -A worker inspect report_clock`."""


def connect() -> None:
    """Have the workers of this process answer the command."""
    inspect_command(name=COMMAND)(_report)


def _report(_state: object) -> dict[str, float]:
    """Return the seconds since 1970 by the clock of this host."""
    return {"time": time.time()}
