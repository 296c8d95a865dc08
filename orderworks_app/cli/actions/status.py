"""The health of every part: reads and prints it."""

import time
from contextlib import suppress
from datetime import datetime

import typer

from orderworks.cache.invalidation import Path
from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.observability.status import Part, Status, StatusReader
from orderworks_app.terminal import (
    Column,
    console,
    escaped,
    print_json,
    print_sentence,
    print_table,
)

PATH_LABELS = {
    Path.WORKER: "after a worker's commit",
    Path.LOG: "after a change by another writer",
}

WATCH_INTERVAL = 2.0
"""Seconds between two reads of a watched status."""


def show_status(as_json: bool) -> None:  # noqa: FBT001 - the output format
    """Print the health of every part, and the work that waits.

    Raises:
        typer.Exit: some part is not healthy.
    """
    current = StatusReader(Settings.load()).status()
    if as_json:
        print_json(current)
    else:
        print_status(current)
    if not current.healthy:
        raise typer.Exit(FAILED)


def watch_status() -> None:
    """Print the health of every part again and again, until Ctrl-C.

    Raises:
        typer.Exit: some part was not healthy in the end, or nothing was read.
    """
    reader, healthy = StatusReader(Settings.load()), False
    with suppress(KeyboardInterrupt):
        while True:
            current = reader.status()
            healthy = current.healthy
            _redraw(current)
            time.sleep(WATCH_INTERVAL)
    if not healthy:
        raise typer.Exit(FAILED)


def _redraw(current: Status) -> None:
    with console:  # It writes all at the end of the block, so nothing flickers.
        console.clear()
        print_status(current)
        every = f"every {WATCH_INTERVAL:.0f} s; Ctrl-C ends"
        print_sentence(f"[dim]{datetime.now().astimezone():%H:%M:%S}, {every}[/]")


def print_status(current: Status) -> None:
    """Print the parts as a table, and the counts of work below it."""
    print_table(
        (Column(""), Column("part"), Column("state", least=20)), [*map(_row, current.parts)]
    )
    for name, counts in (
        ("updates", current.updates),
        ("imports", current.imports),
        ("cached reads", current.cache),
    ):
        shown = ", ".join(f"{value:,} {key.replace('_', ' ')}" for key, value in counts.items())
        print_sentence(f"{name}: {shown or 'none'}")
    for path, last in current.invalidation.items():
        times = (
            f"{name} {1000 * seconds:,.1f} ms"
            for name, seconds in (("p50", last.p50), ("p99", last.p99), ("max", last.longest))
        )
        print_sentence(
            f"cached reads invalidated {PATH_LABELS[path]}: {', '.join(times)} (last {last.count:,})"
        )


def _row(part: Part) -> tuple[str, str, str]:
    detail = escaped(part.detail)
    if part.healthy:
        return "[green]✓[/]", part.name, detail
    return "[red]✗[/]", part.name, f"[red]{detail}[/]"
