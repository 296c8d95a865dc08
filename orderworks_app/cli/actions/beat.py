"""The schedule of beat: lists and changes its entries."""

from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa
from kombu.exceptions import OperationalError

from orderworks.core.database import make_engine
from orderworks.core.errors import Unavailable
from orderworks.core.settings import Settings
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import Column, escaped, print_json, print_sentence, print_table
from worker.beat import entries as schedule
from worker.beat.entries import BeatEntry
from worker.beat.schedule import Slot, message_options


def show_entries(as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Print the entries."""
    with _engine().connect() as connection:
        entries = schedule.read_entries(connection)
    if as_json:
        print_json(entries)
    elif entries:
        print_entries(entries)
    else:
        print_sentence("Beat has no entries yet: is `celery -A worker beat` running?")


def set_period(entry: str, period: timedelta | None, as_json: bool) -> None:  # noqa: FBT001
    """Change the period of an entry; None is the configured one."""
    _change(lambda connection: schedule.set_period(connection, entry, period), as_json)


def pause(entry: str, as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Pause an entry."""
    _change(lambda connection: schedule.pause(connection, entry), as_json)


def resume(entry: str, as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Resume an entry."""
    _change(lambda connection: schedule.resume(connection, entry), as_json)


def run(entry: str, as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Send the message of an entry."""
    with _engine().connect() as connection:
        stored = schedule.read_entry(connection, entry)
    _send(stored)
    if as_json:
        print_json(stored)
    else:
        print_sentence(f"Sent {escaped(stored.task)}.")


def _send(entry: BeatEntry) -> None:
    from worker.celery import app  # Loads all of Celery's settings.

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
        print_entries([entry])


def _engine() -> sa.Engine:
    return make_engine(Settings.load(), "orderworks-cli")


def print_entries(entries: list[BeatEntry]) -> None:
    """Print a line for each entry."""
    columns = (
        *(Column("entry"), Column("task"), Column("every", right=True)),
        *(Column("last success"), Column("next")),
    )
    rows = [
        (escaped(each.entry), escaped(each.task), _every(each), _last(each), _next(each))
        for each in entries
    ]
    print_table(columns, rows, optional=("task", "last success"))


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
