"""The schema of the database: changes it, shows its revision and compares it with the code."""

from collections.abc import Callable

from alembic.util import CommandError

from migrations import runner
from orderworks.core.database import make_engine
from orderworks.core.errors import ConfigurationError, OrderworksError
from orderworks.core.settings import Settings
from orderworks_app.terminal import print_sentence


def upgrade(revision: str) -> None:
    """Upgrade the schema, and print the revisions."""
    before = _current()
    _run(lambda: runner.upgrade(revision))
    _print_revisions(before)


def downgrade(revision: str) -> None:
    """Downgrade the schema, and print the revisions."""
    before = _current()
    _run(lambda: runner.downgrade(revision))
    _print_revisions(before)


def show_current() -> None:
    """Print the revision of the database, and the newest one."""
    print_sentence(f"{_current()} (newest: {runner.head()})")


def check() -> None:
    """Compare the database with the code.

    Raises:
        OrderworksError: they differ.
    """
    try:
        runner.check()
    except CommandError as error:
        raise OrderworksError(f"The schema differs from the code: {error}") from None
    print_sentence(
        f"The database is at revision {runner.head()} and equals the tables in the code."
    )


def _run(step: Callable[[], None]) -> None:
    try:
        step()
    except CommandError as error:
        raise ConfigurationError(str(error)) from None


def _current() -> str:
    engine = make_engine(Settings.load(), "orderworks-cli")
    with engine.connect() as connection:
        return runner.current(connection)


def _print_revisions(before: str) -> None:
    after = _current()
    print_sentence(
        f"The schema changed from revision {before} to {after}."
        if before != after
        else f"The schema is already at revision {after}."
    )
