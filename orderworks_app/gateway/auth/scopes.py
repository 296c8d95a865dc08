"""The permissions of tokens."""

from enum import StrEnum


class Scope(StrEnum):
    """A permission that a token may have. No scope includes another."""

    READ = "read"
    """Read customers, orders, reports, imports and dead letters."""
    ENQUEUE = "enqueue"
    """Send updates and files, and read verdicts."""
    OPERATE = "operate"
    """Pause, resume, cancel and retry imports; replay dead letters."""
