"""Who runs PostgreSQL, and where its data and binaries lie so that this account can reach them.

PostgreSQL refuses to run as root, so root's embedded server runs as a system account. No folder
that was there before is ever opened for it: what the account cannot reach is put where it can.
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
"""Where root's data and binaries go if the server's account cannot reach the home or the wheel."""

SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class UnixUser:
    """A system account that a child process is started as; `None` stands for our own."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """What `subprocess` needs to start a process as this account, without groups of ours."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class DataLocation:
    """Where PostgreSQL's data lie and who runs it. `account` is None for an ordinary user's own."""

    folder: Path
    user: UnixUser | None


def data_location(home: Home, home_id: str) -> DataLocation:
    """The place of this home's PostgreSQL data.

    Raises:
        ConfigurationError: no system account, or no place that it can reach.
    """
    if os.geteuid() != 0:
        return DataLocation(home.folder, None)
    outside = SYSTEM_DATA_FOLDER / home_id
    folder = _folder_for_root(home, outside)
    return DataLocation(folder, _owner(folder / "postgresql") or system_user())


def _folder_for_root(home: Home, outside: Path) -> Path:
    """Data stay where they are once they exist; new ones go into the home if it can be reached."""
    if (outside / "postgresql").exists():
        return outside
    if can_reach(_owner(home.folder / "postgresql") or system_user(), home.folder):
        return home.folder
    if (home.folder / "postgresql").exists():
        raise ConfigurationError(
            f"the account that runs PostgreSQL can no longer reach its data in {home.folder}: "
            "give it back the right to pass through the folders above"
        )
    _make_outside(outside, home)
    return outside


def _make_outside(outside: Path, home: Home) -> None:
    try:
        make_folder(SYSTEM_DATA_FOLDER, passable=True)
        make_folder(outside, passable=True)
        (outside / "home").write_text(f"{home.folder}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"PostgreSQL cannot run as root, its account cannot reach {home.folder}, and {outside} "
            f"cannot be made ({error.strerror}): set ORDERWORKS_HOME to a folder that it can reach"
        ) from None


def system_user() -> UnixUser:
    """The account that runs PostgreSQL for root.

    Raises:
        ConfigurationError: the system has neither of them.
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
    """The account that existing data belong to: a `postgres` account may have come later."""
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


def can_reach(account: UnixUser, path: Path) -> bool:
    """Whether `account` can run `path`, or enter it. The kernel is asked: access lists count."""
    test = subprocess.run(  # noqa: S603 - the command is ours
        ["/bin/sh", "-c", 'test -x "$0"', str(path)],
        check=False,
        cwd="/",
        **account.popen_arguments(),
    )
    return test.returncode == 0


def remove_system_data(home_id: str) -> None:
    """Remove what a home has outside of itself, PostgreSQL's data included."""
    if os.geteuid() == 0:
        rmtree(SYSTEM_DATA_FOLDER / home_id, ignore_errors=True)


def remove_orphaned_data() -> None:
    """Remove data outside of homes that lay in the system's temporary folder and are gone.

    Other homes may only be out of sight, on a disk that is not mounted now: theirs are kept.
    """
    if os.geteuid() != 0:
        return
    temporary = os.path.realpath(tempfile.gettempdir())
    for marker in SYSTEM_DATA_FOLDER.glob("*/home"):
        with suppress(FileNotFoundError):  # Another stack may be removing the same one.
            home = Path(marker.read_text(encoding="utf-8").strip())
            if home.is_relative_to(temporary) and not home.exists():
                rmtree(marker.parent, ignore_errors=True)
