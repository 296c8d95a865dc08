"""The output of `up`: a table that is updated in place on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orderworks_app.embedded.service_runner import ServiceRunner, ServiceState

REFRESH = 0.5
"""Seconds between two refreshes of the table."""

COLOURS = {
    ServiceState.READY: "green",
    ServiceState.DONE: "green",
    ServiceState.RESTARTING: "red",
    ServiceState.STARTING: "yellow",
    ServiceState.STOPPING: "yellow",
}


class PlainView:
    """A line with its time for each change of state: for log files and pipes."""

    def __enter__(self) -> Self:
        """Return the view; lines need no preparation."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: lines need no clean-up."""

    def print_line(self, text: str) -> None:
        """Print one line at once. A closed pipe must not stop the services."""
        try:
            print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)  # noqa: T201 - its purpose
        except OSError:
            _discard_output()

    def changed(self, runner: ServiceRunner, /) -> None:
        """Print the new state of the service, unless it is a transition such as `starting`."""
        line = _line(runner)
        if line:
            self.print_line(f"{runner.service.name} {line}")

    def tick(self, _runners: Sequence[ServiceRunner], /) -> None:
        """Do nothing: printed lines do not change."""


class TableView:
    """A table of the services that is redrawn in place: for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._due = 0.0

    def __enter__(self) -> Self:
        """Start to display the table."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last table on the terminal."""
        try:
            self._live.stop()
        except OSError:
            _discard_output()

    def print_line(self, text: str) -> None:
        """Print one line above the table.

        As `Text`: without markup, the console would also draw the table without its colours.
        """
        try:
            self._console.print(Text(text))
        except OSError:
            _discard_output()

    def changed(self, _runner: ServiceRunner, /) -> None:
        """Draw the table at the next tick."""
        self._due = 0.0

    def tick(self, runners: Sequence[ServiceRunner], /) -> None:
        """Draw the table if a state changed or the last one is old. The terminal may be closed."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + REFRESH
        try:
            self._live.update(_table(runners), refresh=True)
        except OSError:
            _discard_output()


def make_view() -> TableView | PlainView:
    """The view that suits standard output."""
    console = Console()
    return (
        TableView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView()
    )


def _line(runner: ServiceRunner) -> str | None:
    pid = f" (pid {runner.identity.pid})" if runner.identity else ""
    match runner.state:
        case ServiceState.READY:
            where = f" on {runner.service.address}" if runner.service.address else ""
            return f"ready{where}{pid}"
        case ServiceState.RESTARTING:
            return f"restarting: {runner.reason}"
        case ServiceState.DONE | ServiceState.STOPPED:
            return str(runner.state)
        case _:
            return None


def _table(runners: Sequence[ServiceRunner]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("service", "state", "pid", "uptime", "restarts", "address"):
        right = column in ("pid", "uptime", "restarts")
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "service")
    for runner in runners:
        table.add_row(*_row(runner))
    return table


def _row(runner: ServiceRunner) -> tuple[str, ...]:
    colour = COLOURS.get(runner.state, "dim")
    reason = f" ({runner.reason})" if runner.state is ServiceState.RESTARTING else ""
    pid = str(runner.identity.pid) if runner.identity else ""
    uptime = _span(time.monotonic() - runner.since) if runner.since and pid else ""
    restarts = str(runner.restarts or "")
    state = f"[{colour}]{runner.state}[/]{reason}"
    return runner.service.name, state, pid, uptime, restarts, runner.service.address


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _discard_output() -> None:
    """Redirect standard output to the null device after its reader has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
