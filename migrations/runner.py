"""Alembic by program: no file to find, no working directory to be in. `orderworks db` runs these."""

import io
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def config() -> Config:
    """Where the revisions are; the database is the one that `DATABASE_URL` names."""
    made = Config(stdout=io.StringIO())  # The commands say themselves what came of it.
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return made


def upgrade(revision: str = "head") -> None:
    """Bring the schema up to a revision; nothing to do is fine."""
    command.upgrade(config(), revision)


def downgrade(revision: str) -> None:
    """Take the schema back to a revision, `base` for none, `-1` for one step."""
    command.downgrade(config(), revision)


def check() -> None:
    """Compare the database with `orderworks/core/schema.py`.

    Raises:
        alembic.util.CommandError: they differ, or revisions wait to be run; says what.
    """
    command.check(config())


def head() -> str:
    """The newest revision that this code knows."""
    newest = ScriptDirectory.from_config(config()).get_current_head()
    return newest or "base"


def current(connection: sa.Connection) -> str:
    """The revision that the database is at; `base` if it has none."""
    return MigrationContext.configure(connection).get_current_revision() or "base"
