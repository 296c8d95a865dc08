"""The search for the embedded stack's folder, upwards from the current one, and its error message."""

import os
import stat
from pathlib import Path

DEFAULT_HOME = Path(".orderworks")


def find_home() -> Path:
    """The `.orderworks` of the current folder, else the nearest one above that this user owns.

    Without any it is that of the current folder. Those of other users are passed over: their addresses
    would be used like the user's own.
    """
    if _owner(DEFAULT_HOME) is not None:
        return DEFAULT_HOME
    above = (folder / DEFAULT_HOME for folder in _folders_above())
    return next((home for home in above if _owner(home) == os.geteuid()), DEFAULT_HOME)


def no_stack_runs(home: Path) -> str:
    """The clause of an error message that names the folder without a running stack."""
    clause = f"no embedded stack runs in {home.absolute()}"
    if home == DEFAULT_HOME and _owner(home) is None:
        clause += f", and no folder above has a {DEFAULT_HOME} of yours"
    return clause


HOW_TO_NAME_A_STACK = (
    "start the stack with `orderworks up`, or name the one to use: change to its folder or one below "
    f"it, or set ORDERWORKS_HOME to its {DEFAULT_HOME}"
)
"""The clause of an error message that lists the ways to get a stack."""


def _folders_above() -> tuple[Path, ...]:
    """The folders that contain the current one, nearest first; none if that was deleted."""
    try:
        return tuple(Path.cwd().parents)
    except OSError:
        return ()


def _owner(folder: Path) -> int | None:
    """The user id of a folder's owner; None if it is no folder, or not accessible."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_uid if stat.S_ISDIR(status.st_mode) else None
