"""The heartbeat file of a worker or beat, and the probe that reads it: `python -m worker.heartbeat`.

`WORKER_HEARTBEAT_FILE` names the file; without it there is none. `worker/broker_heartbeat.py` decides
when the heart beats. The probe runs every few seconds for as long as a container lives, so this module
imports next to nothing.
"""

import os
import sys
import time
from pathlib import Path

VARIABLE = "WORKER_HEARTBEAT_FILE"

INTERVAL = 1.0
"""Seconds between two beats."""

MAX_AGE = 15.0
"""Seconds without a beat after which the process counts as dead: several beats may be late."""


def heartbeat_file() -> Path | None:
    """The file that the environment names."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def touch(path: Path) -> None:
    """Note that all is well now.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch()


def remove(path: Path) -> None:
    """Remove what an earlier process left, so that nobody takes it for ours."""
    path.unlink(missing_ok=True)


def unhealthy_reason(path: Path | None) -> str | None:
    """Why the process counts as dead; None while it is well."""
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
    )  # A text goes to standard error, with exit status 1.
