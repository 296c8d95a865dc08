"""`orderworks db`: the schema of the database that `DATABASE_URL` names."""

from collections.abc import Callable
from typing import Annotated

import typer
from alembic.util import CommandError

from migrations import runner
from orderworks.core.database import make_engine
from orderworks.core.errors import ConfigurationError, OrderworksError
from orderworks.core.settings import Settings
from orderworks_app.terminal import print_sentence

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Manage the schema of the database."
)


@commands.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Target revision.")] = "head",
) -> None:
    """Upgrade the schema to the newest revision. Safe at any time, from any number of hosts."""
    before = _current()
    _run(lambda: runner.upgrade(revision))
    _print_revisions(before)


@commands.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="Target revision; -1 is one step back, base drops all tables.")
    ],
) -> None:
    """Downgrade the schema to an earlier revision. Data in dropped tables and columns are lost."""
    before = _current()
    _run(lambda: runner.downgrade(revision))
    _print_revisions(before)


@commands.command()
def current() -> None:
    """Show the revision of the database, and the newest one."""
    print_sentence(f"{_current()} (newest: {runner.head()})")


@commands.command()
def check() -> None:
    """Fail unless the database has the newest revision and equals the tables in the code."""
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
