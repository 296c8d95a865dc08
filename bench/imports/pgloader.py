"""pgloader, if it is installed: loads the same file into the same table by its own COPY."""

import shutil
import subprocess
from pathlib import Path

import sqlalchemy as sa

from bench.psql_copy import COLUMNS, environment, version_of
from orderworks.core.errors import OrderworksError

PROGRAM = shutil.which("pgloader")

LOAD = """
LOAD CSV FROM '{file}' WITH ENCODING UTF-8 ({columns})
INTO postgresql:///{database} TARGET TABLE public.orders ({columns})
WITH skip header = 1, fields terminated by ',', workers = 4, concurrency = 2,
     batch rows = 50000, prefetch rows = 100000;
"""
"""One thread reads, two write; a batch has the number of rows of an import's chunk."""

MAX_OUTPUT = 1000
"""Characters of the end of its output in the message of a failure."""


def describe() -> str:
    """Return a note with pgloader's release, or that it is missing."""
    return version_of(PROGRAM) if PROGRAM else "pgloader is left out: it is not on the PATH"


def load(program: str, database: str, file: Path) -> None:
    """Load a file of orders.

    Raises:
        OrderworksError: it failed; the message has its last output.
    """
    commands = file.with_suffix(".load")
    text = LOAD.format(
        file=file, columns=COLUMNS["orders"], database=sa.make_url(database).database
    )
    commands.write_text(text, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - found on the PATH
        [program, "--quiet", "--root-dir", str(file.parent), str(commands)],
        env=environment(database),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OrderworksError(
            f"pgloader failed: {(done.stdout + done.stderr)[-MAX_OUTPUT:].strip()}"
        )
