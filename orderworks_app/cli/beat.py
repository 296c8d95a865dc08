"""`orderworks beat`: the schedule, and its changes at run time."""

from datetime import timedelta
from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson

commands = typer.Typer(
    rich_markup_mode="markdown",
    help="List the schedule and change it at run time. A change takes some seconds.",
)

EntryName = Annotated[str, typer.Argument(help="The entry, by its name in `orderworks beat`.")]

MAX_PERIOD = 365 * 24 * 3600
"""Seconds. A period of more than a year is better a pause."""


@commands.callback(invoke_without_command=True)
def beat(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the entries: task, period, last success, and when the next run is due."""
    from orderworks_app.cli.actions.beat import show_entries

    if context.invoked_subcommand is None:
        show_entries(as_json)


@commands.command("set")
def set_period(
    entry: EntryName,
    every: Annotated[
        int | None, typer.Option(min=1, max=MAX_PERIOD, help="Seconds between two runs.")
    ] = None,
    *,
    default: Annotated[bool, typer.Option("--default", help="The configured period.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change the period of an entry. The change survives restarts of beat and of the servers."""
    from orderworks_app.cli.actions import beat as actions

    if default == (every is not None):
        raise typer.BadParameter("give either --every SECONDS or --default")
    actions.set_period(entry, None if every is None else timedelta(seconds=every), as_json)


@commands.command()
def pause(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Pause an entry until `resume`. Messages already sent do nothing."""
    from orderworks_app.cli.actions import beat as actions

    actions.pause(entry, as_json)


@commands.command()
def resume(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Resume a paused entry. It runs at once if it is due."""
    from orderworks_app.cli.actions import beat as actions

    actions.resume(entry, as_json)


@commands.command()
def run(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Run an entry now, even if it is paused. This run takes the current slot.

    It starts as soon as a worker of its queue is free.
    """
    from orderworks_app.cli.actions import beat as actions

    actions.run(entry, as_json)
