"""The log file of a part: kept small, and read back for health checks and error messages."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

MAX_LOG_BYTES = 10 << 20
"""Bytes a log may hold; then it becomes `NAME.log.1`, and the one before that is gone."""

ERROR_LINES = 5


class LogFile:
    """A part's log, from one start of the part on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> BinaryIO:
        """The file, open for appending: what `since_start` gives begins here."""
        rotate_if_large(self.path)
        file = self.path.open("ab")
        self._start = file.tell()
        return file

    def since_start(self) -> str:
        """What was written since `open`, if that is not more than the last 64 KiB."""
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
    """Move what the log holds to `NAME.log.1` once it is over the limit.

    Copied and emptied, not renamed, so that it works under running processes too: they hold the
    file open for appending. A line that is written at that very moment may be lost.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as file:
                file.truncate(0)
