"""Files of bytes: opened, counted while they are read, and peeked into."""

import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, TypeGuard

from orderworks.core.errors import InvalidFile
from producer.imports.sources.limits import SourceLimits, check_source_bytes

BLOCK = 256 << 10
"""Bytes read at once; less than the longest record, so that a line over that limit spans blocks."""


BytesLike = bytes | bytearray | memoryview
"""A whole file in memory."""


class Readable(Protocol):
    """A file opened for reading bytes, or an object with such a `read`."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes, or none at the end."""


def is_readable(source: object) -> TypeGuard[Readable]:
    """Return whether the source has a method `read`, also one of a file that it wraps."""
    # A check against the protocol would miss a `read` that comes from `__getattr__`.
    return callable(getattr(source, "read", None))


class CountedFile:
    """A file of which `count` bytes have been read."""

    def __init__(self, name: str, file: Readable, limits: SourceLimits) -> None:
        self.count = 0
        self._ended = False
        self._name = name
        self._file = file
        self._limits = limits

    def read(self, size: int, /) -> bytes:
        """Return some bytes, or none at the end.

        Raises:
            InvalidFile: the file cannot be read, returns no bytes, or exceeds the limit.
        """
        if self._ended:
            # A terminal would be read again.
            return b""
        try:
            block = self._file.read(size)
        except OSError as error:
            raise InvalidFile(f"{self._name}: cannot be read: {error}") from None
        if block is None:
            # None is not the end: the rest of the file would be lost.
            raise InvalidFile(f"{self._name}: has no data yet; open it for blocking reads")
        if not isinstance(block, bytes):
            raise InvalidFile(f"{self._name}: returns text; open it for reading bytes")
        self._ended = not block and size > 0
        self.set_count(self.count + len(block))
        return block

    def set_count(self, count: int) -> None:
        """Set the number of bytes read, here or by another reader.

        Raises:
            InvalidFile: it exceeds the limit.
        """
        self.count = count
        check_source_bytes(self._name, count, self._limits)


class PeekableFile:
    """A file whose first bytes can be peeked at before they are read."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._buffer = b""

    def peek(self, size: int = BLOCK) -> bytes:
        """Return the next `size` bytes without consuming them; fewer only at the end."""
        while len(self._buffer) < size and (more := self._file.read(size - len(self._buffer))):
            self._buffer += more
        return self._buffer

    def read(self, size: int, /) -> bytes:
        """Return some bytes, or none at the end."""
        if not self._buffer:
            return self._file.read(size)
        block, self._buffer = self._buffer[:size], self._buffer[size:]
        return block


@contextmanager
def open_file(source: str | os.PathLike[str] | BytesLike | Readable) -> Iterator[Readable]:
    """Open the source as a file of bytes; a file opened here is closed at the end.

    Raises:
        InvalidFile: a path is not that of a file that can be read.
    """
    if isinstance(source, BytesLike):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(Path(source)) as file:
            yield file
    else:
        yield source


def modification_time(source: object) -> datetime | None:
    """Return the second in which a file with this path was last written; None for other sources."""
    if not isinstance(source, str | os.PathLike):
        return None
    status = Path(source).stat()
    if not stat.S_ISREG(status.st_mode) or not 0 <= status.st_mtime <= time.time():
        return None
    return datetime.fromtimestamp(int(status.st_mtime), UTC)


def blocks_of(file: Readable) -> Iterator[bytes]:
    """Yield the rest of the file, block by block."""
    while block := file.read(BLOCK):
        yield block


def _open_path(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            stream = "not a regular file; give a stream as - on standard input"
            kind = "a folder" if path.is_dir() else stream
            raise InvalidFile(f"{path}: is {kind}")
        return path.open("rb")
    except OSError as error:
        if "\n" in str(path):
            raise InvalidFile("a text is used as a path: pass content as bytes") from None
        if isinstance(error, FileNotFoundError):
            raise InvalidFile(f"{path}: there is no such file") from None
        raise InvalidFile(f"{path}: cannot be opened: {error.strerror}") from None
    except ValueError as error:
        raise InvalidFile(f"{str(path)!r}: is not a path: {error}") from None
