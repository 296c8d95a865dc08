"""The log file of a service: limited in size, and read for health checks and error messages."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

MAX_LOG_BYTES = 10 << 20
"""Bytes a log may hold; then it becomes `NAME.log.1` and replaces the one before."""

ERROR_LINES = 5


class LogFile:
    """The log of a service since one start of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> BinaryIO:
        """The file, open for appending; the text that `since_start` returns begins here."""
        rotate_if_large(self.path)
        file = self.path.open("ab")
        self._start = file.tell()
        return file

    def since_start(self) -> str:
        """The text written since `open`, at most its last 64 KiB."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                start = self._start if self._start <= size else 0
                file.seek(max(start, size - (1 << 16)))
                return file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def last_lines(self) -> str:
        """The last lines since `open`, indented, for an error message."""
        lines = [line.rstrip() for line in self.since_start().splitlines() if line.strip()]
        return "\n".join(f"    {line}" for line in lines[-ERROR_LINES:])


def rotate_if_large(path: Path) -> None:
    """Move the content of the log to `NAME.log.1` once it is over the limit.

    It is copied and truncated, not renamed, because running processes have the file open for
    appending. A line that is written at that very moment may be lost.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as file:
                file.truncate(0)
