"""The folder of one embedded stack: its paths, its permissions, and the lock of the running stack."""

import fcntl
import json
import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from orderworks.core.errors import ConfigurationError, OrderworksError
from orderworks.core.settings import STATE_FILE


class AlreadyRunning(OrderworksError):
    """Another process runs the stack of this home."""


@dataclass(frozen=True)
class Home:
    """The folder that ORDERWORKS_HOME names. `folder` is absolute and free of symbolic links."""

    folder: Path

    @property
    def state_file(self) -> Path:
        """Addresses and processes of the stack; it exists only while the stack runs."""
        return self.folder / STATE_FILE

    @property
    def logs(self) -> Path:
        """The folder with one log file for each service."""
        return self.folder / "logs"

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor; holds its pid, for the error message of a second one."""
        return self.folder / "lock"


def open_home(folder: Path) -> Home:
    """The home at `folder`, which is created if it does not exist.

    A home created here is private to its user. Only root's can be traversed (never listed):
    PostgreSQL does not run as root, and its account has to reach its own data.

    Raises:
        ConfigurationError: it cannot be created or written, or belongs to another user.
    """
    home = Home(Path(os.path.realpath(folder)))
    try:
        make_folder(home.folder, passable=os.geteuid() == 0)
        _refuse_foreign(home.folder)
        make_folder(home.logs)
    except OSError as error:
        raise ConfigurationError(
            f"ORDERWORKS_HOME: cannot write to {home.folder}: {error.strerror}"
        ) from None
    return home


def make_folder(folder: Path, *, passable: bool = False) -> None:
    """Create a private folder unless it exists. The modes of existing folders do not change."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return
    if passable:
        folder.chmod(0o711)


def _refuse_foreign(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        owner = _name_of(status.st_uid)
        raise ConfigurationError(
            f"ORDERWORKS_HOME: {folder} belongs to {owner}: "
            "run as that user, or name another folder"
        )
    if status.st_mode & 0o002:
        raise ConfigurationError(
            f"ORDERWORKS_HOME: every user can write to {folder}: run `chmod o-w` on it"
        )


def _name_of(uid: int) -> str:
    """The name of a user, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


@contextmanager
def home_lock(home: Home) -> Iterator[None]:
    """Hold the home's lock. The kernel releases it when the holder exits, for any reason.

    Raises:
        AlreadyRunning: another process holds it; the message names that process.
    """
    descriptor = _open_lock(home)
    try:
        _lock(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _open_lock(home: Home) -> int:
    try:
        return os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"ORDERWORKS_HOME: cannot write to {home.folder}: {error.strerror}"
        ) from None


def _lock(descriptor: int, home: Home) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 200).decode().strip() or "another process"
        raise AlreadyRunning(f"the stack in {home.folder} is already run by {holder}") from None
    with suppress(OSError):  # On a full disk the lock works as well; only its holder is not named.
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{psutil.Process().username()}, pid {os.getpid()}\n".encode())


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def load_values(home: Home, name: str) -> dict[str, str]:
    """The values that `save_values` stored as `name`; empty without that file.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = home.folder / name
    try:
        return {str(key): str(value) for key, value in json.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise ConfigurationError(f"{path} cannot be read, or is damaged") from None


def save_values(home: Home, name: str, values: dict[str, str]) -> None:
    """Store `values` for later runs, readable by their owner only."""
    write_private(home.folder / name, json.dumps(values, indent=1) + "\n")
