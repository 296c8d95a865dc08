"""Alembic commands without a configuration file or working directory, for `orderworks db`."""

import io
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def config() -> Config:
    """Return Alembic's configuration. The database is the one that `DATABASE_URL` names."""
    made = Config(stdout=io.StringIO())  # Our commands print the result.
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return made


def upgrade(revision: str = "head") -> None:
    """Upgrade the schema to a revision. Does nothing if it is there already."""
    command.upgrade(config(), revision)


def downgrade(revision: str) -> None:
    """Downgrade the schema to a revision; `base` removes everything, `-1` is one step."""
    command.downgrade(config(), revision)


def check() -> None:
    """Compare the database with `orderworks/core/schema.py`.

    Raises:
        alembic.util.CommandError: they differ, or revisions are pending; the message lists them.
    """
    command.check(config())


def head() -> str:
    """Return the newest revision that this code has."""
    newest = ScriptDirectory.from_config(config()).get_current_head()
    return newest or "base"


def current(connection: sa.Connection) -> str:
    """Return the database's revision; `base` if it has none."""
    return MigrationContext.configure(connection).get_current_revision() or "base"
