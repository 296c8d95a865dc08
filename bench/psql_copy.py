r"""Runs psql's `\copy`, the baseline of every import."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from orderworks.core.errors import ConfigurationError, OrderworksError
from orderworks_app.embedded.binaries import postgresql_binaries

COLUMNS: Mapping[str, str] = {
    "customers": "id, name, phone, email",
    "orders": "id, customer_id, total, status, created_at",
}
"""The columns of the generated files, in their order."""


def copy(database: str, table: str, *files: Path) -> None:
    """Copy files into a table in parallel, with a process and a transaction for each.

    Raises:
        OrderworksError: psql is missing or failed; the message has its output.
    """
    program = psql()
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda file: _copy(program, database, table, file), files))


def psql() -> str:
    """Return the path of psql: that of the embedded server, else the one on the PATH.

    Raises:
        ConfigurationError: psql is not found.
    """
    embedded = str(postgresql_binaries(None))
    path = os.pathsep.join([embedded, os.environ.get("PATH", "")])
    program = shutil.which("psql", path=path)
    if program is None:
        raise ConfigurationError("psql is not on the PATH: its \\copy is the baseline")
    return program


def describe() -> str:
    r"""Return a note with the release that runs `\copy`."""
    return rf"\copy is done by {version_of(psql())}"


def version_of(program: str) -> str:
    """Return the first line that a program prints for `--version`."""
    command = [program, "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - found on the PATH
    return printed.stdout.splitlines()[0]


def environment(database: str) -> dict[str, str]:
    """Return libpq's variables for the database; all users could see the password in an argument."""
    url = sa.make_url(database)
    return {
        "PATH": os.defpath,
        "PGHOST": str(url.host),
        "PGPORT": str(url.port),
        "PGUSER": str(url.username),
        "PGPASSWORD": str(url.password),
        "PGDATABASE": str(url.database),
    }


def _copy(program: str, database: str, table: str, file: Path) -> None:
    quoted = str(file).replace("'", "''")
    statement = f"\\copy {table} ({COLUMNS[table]}) from '{quoted}' csv header"
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    done = subprocess.run(  # noqa: S603 - fixed path and arguments
        [program, *options, "--command", statement],
        env=environment(database),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OrderworksError(f"\\copy of {file.name} failed: {done.stderr.strip()}")
