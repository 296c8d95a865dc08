"""`orderworks beat`: the schedule, and its changes at run time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import sqlalchemy as sa
import typer
from kombu.exceptions import OperationalError

from orderworks.core.database import make_engine
from orderworks.core.errors import Unavailable
from orderworks.core.settings import Settings
from orderworks_app.cli.options import AsJson
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import console, escaped, print_json, print_sentence, table
from worker.beat import entries as schedule
from worker.beat.entries import BeatEntry
from worker.beat.schedule import Slot, message_options

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
    if context.invoked_subcommand is not None:
        return
    with _engine().connect() as connection:
        entries = schedule.read_entries(connection)
    if as_json:
        print_json(entries)
    elif entries:
        _print_entries(entries)
    else:
        print_sentence("Beat has no entries yet: is `celery -A worker beat` running?")


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
    if default == (every is not None):
        raise typer.BadParameter("give either --every SECONDS or --default")
    period = None if every is None else timedelta(seconds=every)
    _change(lambda connection: schedule.set_period(connection, entry, period), as_json)


@commands.command()
def pause(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Pause an entry until `resume`. Messages already sent do nothing."""
    _change(lambda connection: schedule.pause(connection, entry), as_json)


@commands.command()
def resume(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Resume a paused entry. It runs at once if it is due."""
    _change(lambda connection: schedule.resume(connection, entry), as_json)


@commands.command()
def run(entry: EntryName, *, as_json: AsJson = False) -> None:
    """Run an entry now, even if it is paused. This run takes the current slot.

    It starts as soon as a worker of its queue is free.
    """
    with _engine().connect() as connection:
        stored = schedule.read_entry(connection, entry)
    _send(stored)
    if as_json:
        print_json(stored)
    else:
        print_sentence(f"Sent {escaped(stored.task)}.")


def _send(entry: BeatEntry) -> None:
    from worker.celery import app  # noqa: PLC0415 - loads all of Celery's settings

    options = message_options(Slot(entry.entry, entry.configured, forced=True))
    try:
        app.send_task(entry.task, **options)
    except OperationalError as error:
        raise Unavailable(f"the broker accepted no message: {error}") from error


def _change(change: Callable[[sa.Connection], BeatEntry], as_json: bool) -> None:  # noqa: FBT001
    with _engine().begin() as connection:
        entry = change(connection)
    if as_json:
        print_json(entry)
    else:
        _print_entries([entry])


def _engine() -> sa.Engine:
    return make_engine(Settings.load(), "orderworks-cli")


def _print_entries(entries: list[BeatEntry]) -> None:
    lines = table("entry", "task", "every", "last success", "next", right=("every",))
    for each in entries:
        lines.add_row(
            escaped(each.entry), escaped(each.task), _every(each), _last(each), _next(each)
        )
    console.print(lines)


def _every(entry: BeatEntry) -> str:
    changed = entry.every != entry.configured
    return format_span(entry.every) + (
        f" [dim](configured: {format_span(entry.configured)})[/]" if changed else ""
    )


def _last(entry: BeatEntry) -> str:
    ago = f"{entry.succeeded_at:%Y-%m-%d %H:%M:%S} UTC" if entry.succeeded_at else "never"
    return f"[red]{ago}[/]" if entry.is_overdue else ago


def _next(entry: BeatEntry) -> str:
    if entry.due_in is None:
        return "[yellow]paused[/]"
    return f"in {format_span(entry.due_in)}" if entry.due_in > 0 else "now"
