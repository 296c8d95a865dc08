"""PgBouncer in front of a PostgreSQL, in the mode of transactions."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from orderworks_app.embedded.ports import LOOPBACK, is_free
from orderworks_app.embedded.unix_user import system_user
from tests.support.processes import eventually

PORTS = (18_000, 19_999)


def pgbouncer() -> str | None:
    """Return the program; None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running_pooler(url: str, *settings: str) -> Iterator[str]:
    """The address of this database through a pooler with three sessions, and settings `name = value`."""
    program = pgbouncer()
    assert program
    folder = Path(tempfile.mkdtemp(prefix="orderworks-pgbouncer-"))
    port = next(filter(is_free, iter(lambda: random.randint(*PORTS), None)))
    (folder / "pgbouncer.ini").write_text(_configuration(url, port, settings), encoding="utf-8")
    user = system_user() if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user.uid, user.gid)
    process = subprocess.Popen(
        [program, str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
        **(user.popen_arguments() if user else {}),
    )
    try:
        eventually(lambda: _answers(port, user_of(url)), 10, "PgBouncer does not answer")
        yield through(url, port)
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(folder)


def user_of(url: str) -> str:
    """Return the role that an address names."""
    return urlsplit(url).username or ""


def through(url: str, port: int) -> str:
    """Return the address with another port."""
    parts = urlsplit(url)
    secret = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{secret}@{LOOPBACK}:{port}"))


def _configuration(url: str, port: int, settings: tuple[str, ...]) -> str:
    parts = urlsplit(url)
    server = f"host={LOOPBACK} port={parts.port} user={parts.username} password={parts.password}"
    lines = (
        "[databases]",
        f"* = {server}",
        "[pgbouncer]",
        f"listen_addr = {LOOPBACK}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        "pool_mode = transaction",
        "default_pool_size = 6",
        f"admin_users = {parts.username}",
        *settings,
    )
    return "\n".join((*lines, ""))


def _answers(port: int, user: str) -> bool:
    try:
        psycopg2.connect(host=LOOPBACK, port=port, user=user, dbname="pgbouncer").close()
    except psycopg2.OperationalError as error:
        return "unsupported" in str(error)
    return True
