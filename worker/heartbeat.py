"""The heartbeat file of a worker or beat, and the probe that reads it: `python -m worker.heartbeat`.

`WORKER_HEARTBEAT_FILE` names the file; if it is not set, no file is written. The file is touched by
`worker/broker_heartbeat.py`. The probe runs every few seconds in each container, so this module imports
only the standard library.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "WORKER_HEARTBEAT_FILE"

INTERVAL = 1.0
"""Seconds between two heartbeats."""

MAX_AGE = 15.0
"""Seconds without a heartbeat after which the process counts as dead: several may be late."""


def heartbeat_file() -> Path | None:
    """Return the file that the environment names, or None."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def touch(path: Path) -> None:
    """Record a heartbeat now.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch()


def remove(path: Path) -> None:
    """Remove the file of an earlier process, so that it is not taken for this one's."""
    path.unlink(missing_ok=True)


def unhealthy_reason(path: Path | None) -> str | None:
    """Return why the process counts as dead; None while it is healthy."""
    if path is None:
        return f"{VARIABLE} is not set"
    try:
        silence = time.time() - path.stat().st_mtime
    except OSError as error:
        return f"no heartbeat yet: {path}: {error.strerror}"
    return f"no heartbeat for {silence:.0f} s" if silence > MAX_AGE else None


if __name__ == "__main__":
    sys.exit(
        unhealthy_reason(heartbeat_file())
    )  # A string is printed to standard error, with exit status 1.
