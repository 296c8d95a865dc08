"""The health of every part: reads and prints it."""

import typer

from orderworks.cache.invalidation import Path
from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.observability.status import Status, StatusReader
from orderworks_app.terminal import console, escaped, print_json, print_sentence, table

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
        _print(current)
    if not current.healthy:
        raise typer.Exit(FAILED)


def _print(current: Status) -> None:
    lines = table("", "part", "")
    for part in current.parts:
        sign = "[green]✓[/]" if part.healthy else "[red]✗[/]"
        detail = escaped(part.detail)
        lines.add_row(sign, part.name, detail if part.healthy else f"[red]{detail}[/]")
    console.print(lines)
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
