"""`orderworks db`: the schema of the database that `DATABASE_URL` names."""

from typing import Annotated

import typer

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Manage the schema of the database."
)


@commands.command()
def upgrade(
    revision: Annotated[str, typer.Argument(help="Target revision.")] = "head",
) -> None:
    """Upgrade the schema to the newest revision. Safe at any time, from any number of hosts."""
    from orderworks_app.cli.actions import database

    database.upgrade(revision)


@commands.command(context_settings={"ignore_unknown_options": True})
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="Target revision; -1 is one step back, base drops all tables.")
    ],
) -> None:
    """Downgrade the schema to an earlier revision. Data in dropped tables and columns are lost."""
    from orderworks_app.cli.actions import database

    database.downgrade(revision)


@commands.command()
def current() -> None:
    """Show the revision of the database, and the newest one."""
    from orderworks_app.cli.actions import database

    database.show_current()


@commands.command()
def check() -> None:
    """Fail unless the database has the newest revision and equals the tables in the code."""
    from orderworks_app.cli.actions import database

    database.check()
