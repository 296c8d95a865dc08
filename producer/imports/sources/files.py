"""Files of bytes: opened, counted while they are read, and looked into before."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeGuard

from orderworks.core.errors import InvalidFile
from producer.imports.sources.limits import SourceLimits, check_source_bytes

BLOCK = 256 << 10
"""Bytes read at once. A line that is too long is noticed because no block holds a whole one."""


BytesLike = bytes | bytearray | memoryview
"""A whole file in memory."""


class Readable(Protocol):
    """A file opened for reading bytes, or what reads like one."""

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""


def is_readable(source: object) -> TypeGuard[Readable]:
    """Whether it reads like a file: also one that hands `read` on to the file within it."""
    # A check against the protocol would miss those whose `read` comes from `__getattr__`.
    return callable(getattr(source, "read", None))


class CountedFile:
    """A file that is handed over, `count` bytes of which are read so far."""

    def __init__(self, name: str, file: Readable, limits: SourceLimits) -> None:
        self.count = 0
        self._ended = False
        self._name = name
        self._file = file
        self._limits = limits

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end.

        Raises:
            InvalidFile: it cannot be read, gives something else, or more than it may.
        """
        if self._ended:
            # A terminal would ask for more.
            return b""
        try:
            block = self._file.read(size)
        except OSError as error:
            raise InvalidFile(f"{self._name}: cannot be read: {error}") from None
        if block is None:
            # Taken for the end, it would cut the file off.
            raise InvalidFile(f"{self._name}: has nothing to read yet; open it for blocking reads")
        if not isinstance(block, bytes):
            raise InvalidFile(f"{self._name}: gives text; open it for reading bytes")
        self._ended = not block and size > 0
        self.set_count(self.count + len(block))
        return block

    def set_count(self, count: int) -> None:
        """So much is read now, here or in another way.

        Raises:
            InvalidFile: it is more than may be handed over.
        """
        self.count = count
        check_source_bytes(self._name, count, self._limits)


class PeekableFile:
    """A file whose first bytes can be looked at before they are read."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._seen = b""

    def peek(self, size: int = BLOCK) -> bytes:
        """The next bytes: as many as asked for, fewer only at the end."""
        while len(self._seen) < size and (more := self._file.read(size - len(self._seen))):
            self._seen += more
        return self._seen

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""
        if not self._seen:
            return self._file.read(size)
        seen, self._seen = self._seen[:size], self._seen[size:]
        return seen


@contextmanager
def open_file(source: str | os.PathLike[str] | BytesLike | Readable) -> Iterator[Readable]:
    """The source as a file of bytes; what was opened here is closed again.

    Raises:
        InvalidFile: a path does not lead to a file that can be read.
    """
    if isinstance(source, BytesLike):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(Path(source)) as file:
            yield file
    else:
        yield source


def blocks_of(file: Readable) -> Iterator[bytes]:
    """The rest of the file, block by block."""
    while block := file.read(BLOCK):
        yield block


def _open_path(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            stream = "not a regular file; give a stream as - on standard input"
            what = "a folder" if path.is_dir() else stream
            raise InvalidFile(f"{path}: is {what}")
        return path.open("rb")
    except OSError as error:
        if "\n" in str(path):
            raise InvalidFile("a text is taken for a path: give content as bytes") from None
        if isinstance(error, FileNotFoundError):
            raise InvalidFile(f"{path}: there is no such file") from None
        raise InvalidFile(f"{path}: cannot be opened: {error.strerror}") from None
    except ValueError as error:
        raise InvalidFile(f"{str(path)!r}: is not a path: {error}") from None
