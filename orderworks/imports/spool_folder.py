"""The spool in a folder, which all producers and workers of one user mount.

Other users may be able to write where the folder lies. So only regular files are read, no symbolic link
within the spool is followed, and folders and files are private to their owner.
"""

import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600

_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFile(Exception):
    """A file of the spool cannot be read, now or later; the message is what is wrong with it."""


class StoredFile(NamedTuple):
    """An entry of the spool: path within it, time of its last change, kind."""

    path: str
    modified: datetime
    is_folder: bool = False


class FolderStorage:
    """Files of the spool, by their paths `FOLDER/NAME`.

    Methods raise `FileNotFoundError` for a file that does not exist, `UnusableFile` for what is no
    regular file, and other `OSError`s if the folder cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, blocks: Iterable[bytes]) -> None:
        """Store the blocks, all or nothing, and flush them to the disk."""
        folder, name = path.split("/")
        part = f"{name}#{secrets.randbelow(10**9)}"
        self._create(folder)
        with self._opened(folder) as at:
            try:
                _write_file(part, at, blocks)
                os.rename(part, name, src_dir_fd=at, dst_dir_fd=at)
                os.fsync(at)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=at)
                raise

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        with self._file(path) as descriptor:
            return os.fstat(descriptor).st_size

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` up to, without, `end`, or up to its end."""
        with self._file(path) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(start)
            return file.read(end - start)

    def read_all(self, path: str, limit: int) -> bytes:
        """Return a file of at most `limit` bytes."""
        size = self.size(path)
        if size > limit:
            raise UnusableFile(f"it has {size} bytes, more than {limit}")
        return self.read(path, 0, limit)

    def entries(self, folder: str) -> list[StoredFile]:
        """List the entries of a folder, complete or not, of any kind."""
        try:
            with self._opened(folder) as at, os.scandir(at) as found:
                return [file for entry in found for file in _stored(folder, entry)]
        except FileNotFoundError:
            return []

    def parts(self) -> list[StoredFile]:
        """List the files that are being written, or whose writer was killed."""
        files = [*self.entries("data"), *self.entries("manifests")]
        return [file for file in files if "#" in file.path]

    def move(self, path: str, to: str) -> str:
        """Move a file without reading it; return its new path, with a number if `to` exists."""
        folder, name = path.split("/")
        other, new_name = to.split("/")
        self._create(other)
        with self._opened(folder) as source, self._opened(other) as target:
            if _exists(new_name, target):
                new_name = f"{new_name}.{secrets.randbelow(10**9)}"
            os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        return f"{other}/{new_name}"

    def delete(self, path: str) -> None:
        """Delete a file, if it exists; a folder stays."""
        folder, name = path.split("/")
        with suppress(FileNotFoundError, IsADirectoryError), self._opened(folder) as at:
            os.unlink(name, dir_fd=at)

    @contextmanager
    def _file(self, path: str) -> Iterator[int]:
        """A descriptor of a regular file, to read it."""
        folder, name = path.split("/")
        with self._opened(folder) as at:
            descriptor = _open_regular(name, at)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    def _create(self, folder: str) -> None:
        self._root.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (self._root / folder).mkdir(PRIVATE_FOLDER)

    @contextmanager
    def _opened(self, folder: str) -> Iterator[int]:
        """A descriptor of a folder of the spool. The way to the spool itself may have links."""
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            at = os.open(folder, flags, dir_fd=root)
        except NotADirectoryError:
            raise NotADirectoryError(f"{self._root / folder} is a file or a link") from None
        finally:
            _make_private(root)
            os.close(root)
        try:
            _make_private(at)
            yield at
        finally:
            os.close(at)


def _make_private(folder: int) -> None:
    """Withdraw the rights of others on a folder of ours: its umask may have left them some."""
    status = os.fstat(folder)
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
        os.fchmod(folder, PRIVATE_FOLDER)


def _write_file(name: str, at: int, blocks: Iterable[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, PRIVATE_FILE, dir_fd=at), "wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _open_regular(name: str, at: int) -> int:
    """Open a regular file, and nothing else: to open a pipe could wait, a device could do anything.

    Raises:
        FileNotFoundError: there is no such file.
        UnusableFile: it is of another kind, or not ours to read.
    """
    _require_regular(os.stat(name, dir_fd=at, follow_symlinks=False))
    try:
        descriptor = os.open(name, _READ_ONLY, dir_fd=at)
    except PermissionError as error:
        raise UnusableFile(f"it cannot be read: {error.strerror}") from None
    try:
        _require_regular(os.fstat(descriptor))
    except UnusableFile:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of an unknown kind")
        raise UnusableFile(f"it is {kind}, not a regular file")


def _stored(folder: str, entry: "os.DirEntry[str]") -> Iterator[StoredFile]:
    """The entry, unless it was deleted meanwhile."""
    with suppress(FileNotFoundError):
        status = entry.stat(follow_symlinks=False)
        modified = datetime.fromtimestamp(status.st_mtime, UTC)
        yield StoredFile(f"{folder}/{entry.name}", modified, stat.S_ISDIR(status.st_mode))


def _exists(name: str, at: int) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
