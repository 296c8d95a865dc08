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
    no_args_is_help=True, rich_markup_mode="markdown", help="Look after the schema of the database."
)


@commands.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go to.")] = "head",
) -> None:
    """Bring the schema up to date. Safe to run at any time, by any number of hosts."""
    before = _current()
    _run(lambda: runner.upgrade(revision))
    _print_revisions(before)


@commands.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="Revision to go back to; -1 is one step, base drops all.")
    ],
) -> None:
    """Take the schema back to an earlier revision. What it drops is gone."""
    before = _current()
    _run(lambda: runner.downgrade(revision))
    _print_revisions(before)


@commands.command()
def current() -> None:
    """Show the revision that the database is at, and the newest one."""
    print_sentence(f"{_current()} (newest: {runner.head()})")


@commands.command()
def check() -> None:
    """Fail unless the database is at the newest revision and equal to the code's tables."""
    try:
        runner.check()
    except CommandError as error:
        raise OrderworksError(f"The schema differs: {error}") from None
    print_sentence(f"The database is at {runner.head()} and equal to the code's tables.")


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
        f"The schema went from {before} to {after}."
        if before != after
        else f"It is at {after} already."
    )
