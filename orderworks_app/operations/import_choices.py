"""The values that users choose from: kinds of files, formats of rejects, actions on an import."""

from enum import StrEnum


class FileKind(StrEnum):
    """The kind of rows in a file."""

    ORDERS = "orders"
    CUSTOMERS = "customers"


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
