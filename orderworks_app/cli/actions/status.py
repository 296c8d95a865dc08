"""The health of every part: reads and prints it."""

import typer

from orderworks.cache.invalidation import Path
from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.observability.status import Part, Status, StatusReader
from orderworks_app.terminal import Column, escaped, print_json, print_sentence, print_table

PATH_LABELS = {
    Path.WORKER: "after a worker's commit",
    Path.LOG: "after a change by another writer",
}


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
