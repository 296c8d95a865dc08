r"""`\copy`, as psql does it: what every import is compared with."""

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
    """Copy files into a table, all at once: a process and a transaction each.

    Raises:
        OrderworksError: there is no psql, or it refused; says what it said.
    """
    program = psql()
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(lambda file: _copy(program, database, table, file), files))


def psql() -> str:
    """The path of psql: the embedded server's own, else the PATH's.

    Raises:
        ConfigurationError: there is none.
    """
    embedded = str(postgresql_binaries(None))
    path = os.pathsep.join([embedded, os.environ.get("PATH", "")])
    found = shutil.which("psql", path=path)
    if found is None:
        raise ConfigurationError("psql is not on the PATH: all is compared with its \\copy")
    return found


def describe() -> str:
    r"""Who does the `\copy`."""
    return rf"\copy is done by {version_of(psql())}"


def version_of(program: str) -> str:
    """What a program says of its version, in a line."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - found on the PATH
    return said.stdout.splitlines()[0]


def environment(database: str) -> dict[str, str]:
    """What leads libpq's programs to the database. The password is no argument: all can see those."""
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
    done = subprocess.run(  # noqa: S603 - its path and its arguments are ours
        [program, *options, "--command", statement],
        env=environment(database),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OrderworksError(f"\\copy of {file.name} went wrong: {done.stderr.strip()}")
