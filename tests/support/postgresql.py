"""A PostgreSQL of other binaries than the embedded ones: of a distribution, of another version."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg2

from orderworks_app.embedded.ports import LOOPBACK, is_free
from orderworks_app.embedded.postgresql import ADMIN, DATABASE, ROLE
from orderworks_app.embedded.unix_user import UnixUser, system_user
from tests.support.processes import eventually

PORTS = (16_000, 17_999)

BINARIES = "ORDERWORKS_TEST_PG_BIN"
"""The variable that names the folder of binaries with which all tests run, in place of the embedded."""

DEBIAN = Path("/usr/lib/postgresql/15/bin")
"""The folder of PostgreSQL 15, the oldest supported version, where Debian installs it."""


def binaries_15() -> Path | None:
    """Return the folder of the binaries of PostgreSQL 15, or of PG_BIN; None without them."""
    folder = Path(os.environ.get("PG_BIN") or DEBIAN)
    return folder if (folder / "postgres").exists() else None


class PostgreSQL(NamedTuple):
    """A running server: the addresses of the role that owns the database, and of the superuser."""

    url: str
    admin_url: str


@contextmanager
def running_postgresql(binaries: Path) -> Iterator[PostgreSQL]:
    """A server of these binaries with an empty database, in a folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="orderworks-postgresql-"))
    user = system_user() if os.geteuid() == 0 else None
    if user:
        os.chown(folder, user.uid, user.gid)
    try:
        _initdb(binaries, folder / "data", user)
        with _serving(binaries, folder / "data", user) as port:
            yield _make_database(port)
    finally:
        shutil.rmtree(folder)


def _initdb(binaries: Path, data: Path, user: UnixUser | None) -> None:
    arguments = ("-U", ADMIN, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    subprocess.run(
        [str(binaries / "initdb"), "-D", str(data), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=data.parent,
        **(user.popen_arguments() if user else {}),
    )


@contextmanager
def _serving(binaries: Path, data: Path, user: UnixUser | None) -> Iterator[int]:
    port = next(filter(is_free, iter(lambda: random.randint(*PORTS), None)))
    options = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "fsync": "off"}
    server = subprocess.Popen(
        [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        + [word for name, value in options.items() for word in ("-c", f"{name}={value}")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data,
        start_new_session=True,
        **(user.popen_arguments() if user else {}),
    )
    try:
        eventually(
            lambda: _answers(_url(ADMIN, "postgres", port)), 30, "PostgreSQL does not answer"
        )
        yield port
    finally:
        server.send_signal(signal.SIGINT)  # It ends sessions, too.
        server.wait(timeout=30)


def _make_database(port: int) -> PostgreSQL:
    """Make role and database as `up` does: the role is no superuser."""
    connection = psycopg2.connect(_url(ADMIN, "postgres", port))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE} LOGIN")
        cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    connection.close()
    return PostgreSQL(_url(ROLE, DATABASE, port), _url(ADMIN, DATABASE, port))


def _url(role: str, database: str, port: int) -> str:
    return f"postgresql://{role}:unused@{LOOPBACK}:{port}/{database}"


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True
