"""The demo: runs all functions on generated data and checks the results."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from orderworks.core.settings import Settings
from orderworks_app.cli.actions.reports import print_report
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.stack import program, signals_as_interrupt
from orderworks_app.demo.scenario import Demo
from orderworks_app.embedded.home import AlreadyRunning
from orderworks_app.embedded.stack import running_stack
from orderworks_app.terminal import print_sentence

REPORT_INTERVAL = "5"
"""Seconds between refreshes in the demo: with the default it would wait 30 s for beat."""


def run_demo(orders: int, *, keep: bool) -> None:
    """Run the demo on the running stack, or on one that it starts.

    Raises:
        typer.Exit: some check failed.
    """
    started = time.monotonic()
    signals_as_interrupt()
    with _stack(Settings.load().orderworks_home):
        settings = Settings.load()
        print_sentence(
            f"[green]✓[/] all services are ready after {time.monotonic() - started:.1f} s"
        )
        with tempfile.TemporaryDirectory(prefix="orderworks-demo-") as folder:
            proofs = Demo(settings, Path(folder), print_report).run(orders)
        for check in proofs:
            sign = "[green]✓[/]" if check.holds else "[red]✗[/]"
            print_sentence(f"{sign} {check.statement}: {check.figures}")
        holds = all(check.holds for check in proofs)
        verdict = "All checks passed" if holds else "[red]Some checks failed[/]"
        print_sentence(f"\n{verdict}; the demo took {time.monotonic() - started:.0f} s.")
        _print_addresses(settings, keep=keep)
    if not holds:
        raise typer.Exit(FAILED)


@contextmanager
def _stack(home: Path) -> Iterator[None]:
    """The running stack of this home, or a new one until the block ends."""
    print_sentence(
        "PostgreSQL, Valkey, Celery workers, beat and Flower run on this machine; "
        f"the data are in {home}\n"
    )
    os.environ.setdefault("REPORT_INTERVAL", REPORT_INTERVAL)
    try:
        with running_stack(home):
            yield
            print_sentence("Stopping all services; the data are kept.")
    except AlreadyRunning:
        yield


def _print_addresses(settings: Settings, *, keep: bool) -> None:
    command = program()
    if keep:
        print_sentence(
            f"Flower: {settings.flower_url} (password: `{command} env`). Ctrl-C stops all services."
        )
        threading.Event().wait()
    print_sentence(
        f"Flower showed the tasks at {settings.flower_url}. To run all services, type "
        f"`{command} up`, and in another terminal\n`{command} status`, "
        f"`{command} report top-customers` or `{command} imports`."
    )
