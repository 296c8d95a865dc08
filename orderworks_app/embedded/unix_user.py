"""The account that runs PostgreSQL, and folders for its data and binaries that it can reach.

PostgreSQL refuses to run as root, so root's embedded server runs as a system account. The
permissions of existing folders are never changed for it: files that the account cannot reach are
put into a folder that it can.
"""

import os
import pwd
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded.home import Home, make_folder

SYSTEM_DATA_FOLDER = Path("/var/lib/orderworks")
"""Folder of root's data and binaries if the server's account cannot reach the home or the wheel."""

SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class UnixUser:
    """A system account that a child process runs as; `None` stands for the current one."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen` that start a process as this account, without our groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class DataLocation:
    """Folder of PostgreSQL's data, and the account that runs it; without `user`, the current one."""

    folder: Path
    user: UnixUser | None


def data_location(home: Home, home_id: str) -> DataLocation:
    """The location of this home's PostgreSQL data.

    Raises:
        ConfigurationError: there is no system account, or no folder that it can reach.
    """
    if os.geteuid() != 0:
        return DataLocation(home.folder, None)
    system_folder = SYSTEM_DATA_FOLDER / home_id
    folder = _folder_for_root(home, system_folder)
    return DataLocation(folder, _owner(folder / "postgresql") or system_user())


def _folder_for_root(home: Home, system_folder: Path) -> Path:
    """Data stay where they are once they exist; new ones go into the home if it can be reached."""
    if (system_folder / "postgresql").exists():
        return system_folder
    if can_reach(_owner(home.folder / "postgresql") or system_user(), home.folder):
        return home.folder
    if (home.folder / "postgresql").exists():
        raise ConfigurationError(
            f"the account that runs PostgreSQL can no longer reach its data in {home.folder}: "
            "give it the permission to enter (`chmod o+x`) each folder above"
        )
    _make_system_folder(system_folder, home)
    return system_folder


def _make_system_folder(folder: Path, home: Home) -> None:
    try:
        make_folder(SYSTEM_DATA_FOLDER, passable=True)
        make_folder(folder, passable=True)
        (folder / "home").write_text(f"{home.folder}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"PostgreSQL cannot run as root, its account cannot reach {home.folder}, and {folder} "
            f"cannot be created ({error.strerror}): set ORDERWORKS_HOME to a folder that it can reach"
        ) from None


def system_user() -> UnixUser:
    """The account that runs PostgreSQL for root.

    Raises:
        ConfigurationError: the system has none of `SYSTEM_USERS`.
    """
    for name in SYSTEM_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return UnixUser(name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root, and there is no account `postgres` or `nobody` to run "
        "it: run as an ordinary user"
    )


def _owner(folder: Path) -> UnixUser | None:
    """The account that existing data belong to: a `postgres` account may have been added later."""
    try:
        status = folder.stat()
    except OSError:
        return None
    if status.st_uid == 0:
        return None
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = str(status.st_uid)
    return UnixUser(name, status.st_uid, status.st_gid)


def can_reach(user: UnixUser, path: Path) -> bool:
    """Return whether the user can run or enter `path`. The kernel decides, so access lists count."""
    test = subprocess.run(  # noqa: S603 - a fixed command
        ["/bin/sh", "-c", 'test -x "$0"', str(path)],
        check=False,
        cwd="/",
        **user.popen_arguments(),
    )
    return test.returncode == 0


def remove_system_data(home_id: str) -> None:
    """Remove a home's files outside of it, PostgreSQL's data included."""
    if os.geteuid() == 0:
        rmtree(SYSTEM_DATA_FOLDER / home_id, ignore_errors=True)


def remove_orphaned_data() -> None:
    """Remove data of homes that were in the system's temporary folder and no longer exist.

    The data of other missing homes are kept: those may be on a disk that is not mounted now.
    """
    if os.geteuid() != 0:
        return
    temporary = os.path.realpath(tempfile.gettempdir())
    for marker in SYSTEM_DATA_FOLDER.glob("*/home"):
        with suppress(FileNotFoundError):  # Another stack may be removing the same one.
            home = Path(marker.read_text(encoding="utf-8").strip())
            if home.is_relative_to(temporary) and not home.exists():
                rmtree(marker.parent, ignore_errors=True)
