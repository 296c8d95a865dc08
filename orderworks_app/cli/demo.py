"""`orderworks demo`: everything at once, and the proof that it is right."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.reports import print_report
from orderworks_app.cli.stack import signals_as_interrupt
from orderworks_app.demo.scenario import Demo
from orderworks_app.embedded.home import AlreadyRunning
from orderworks_app.embedded.stack import running_stack
from orderworks_app.terminal import print_sentence

REPORT_INTERVAL = "5"
"""Seconds between refreshes in the demo, so that nobody waits half a minute for beat."""


def demo(
    orders: Annotated[int, typer.Option(min=1000, help="Orders to generate.")] = 150_000,
    *,
    keep: Annotated[bool, typer.Option(help="Leave everything running until Ctrl-C.")] = False,
) -> None:
    """Show it all: real servers, generated orders, imports, updates, cached reads, a report.

    In the end it proves itself: the tables, counts, cached reads and reports are compared with what
    was computed another way. Exit status 0 only if all agree. It uses the stack that `orderworks up`
    runs, or starts one for its own time; the data stay in ORDERWORKS_HOME.
    """
    began = time.monotonic()
    signals_as_interrupt()
    with _stack(Settings.load().orderworks_home):
        settings = Settings.load()
        print_sentence(f"[green]✓[/] all parts are up after {time.monotonic() - began:.1f} s")
        with tempfile.TemporaryDirectory(prefix="orderworks-demo-") as folder:
            proven = Demo(settings, Path(folder), print_report).run(orders)
        for check in proven:
            sign = "[green]✓[/]" if check.holds else "[red]✗[/]"
            print_sentence(f"{sign} {check.statement}: {check.figures}")
        holds = all(check.holds for check in proven)
        verdict = "All checks hold" if holds else "[red]Not all checks hold[/]"
        print_sentence(f"\n{verdict}, after {time.monotonic() - began:.0f} s in all.")
        _print_addresses(settings, keep=keep)
    if not holds:
        raise typer.Exit(FAILED)


@contextmanager
def _stack(home: Path) -> Iterator[None]:
    """The running stack of this home, or one for the time of the block."""
    print_sentence(
        "PostgreSQL, Valkey, Celery workers, beat and Flower, "
        f"for real, on this machine; data under {home}\n"
    )
    os.environ.setdefault("REPORT_INTERVAL", REPORT_INTERVAL)
    try:
        with running_stack(home):
            yield
            print_sentence("Stopping all of it; the data are kept.")
    except AlreadyRunning:
        yield


def _print_addresses(settings: Settings, *, keep: bool) -> None:
    command = sys.argv[0] if Path(sys.argv[0]).name == "orderworks" else "orderworks"
    if keep:
        print_sentence(
            f"Flower: {settings.flower_url} (password: `{command} env`). Ctrl-C ends it all."
        )
        threading.Event().wait()
    print_sentence(
        f"Flower showed the tasks at {settings.flower_url}. To have it all running, type "
        f"`{command} up`, and in another terminal\n`{command} status`, "
        f"`{command} report top-customers` or `{command} imports`."
    )
