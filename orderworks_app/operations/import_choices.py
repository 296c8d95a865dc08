"""The values that users choose from: kinds, statuses, formats of rejects, actions on an import."""

from enum import StrEnum


class FileKind(StrEnum):
    """The kind of rows in a file."""

    ORDERS = "orders"
    CUSTOMERS = "customers"


class ImportStatus(StrEnum):
    """The status of an import in the ledger."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Format(StrEnum):
    """The format to write rejects in."""

    CSV = "csv"
    JSONL = "jsonl"


class Steer(StrEnum):
    """The actions on a running import."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
