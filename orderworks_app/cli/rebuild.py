"""`orderworks rebuild`: compare what reports are read from with the orders table, and mend it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orderworks import cache
from orderworks.core.database import make_engine
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.reports.excluded_statuses import listed
from orderworks.reports.rebuild import OnStep, Rebuild, Rebuilt
from orderworks.reports.reconcile import Counted
from orderworks.reports.refresh import refresh
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.options import AsJson
from orderworks_app.terminal import plain, print_json, say


def rebuild(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only look; exit status 1 if something differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what reports are read from with the orders table, and mend what drifted.

    Writers and refreshes go on meanwhile. It also puts another UNCOUNTED_STATUSES in force, and recounts
    for that. Interrupted, do it again.

    Exit status: 0 all is right now; 1 something stays as it was, or --check found a difference; 2 wrong
    usage.
    """
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-cli")
    with progress() as on_step:
        work = Rebuild(engine, _fold_log(engine, settings), on_step)
        wanted = settings.uncounted_statuses
        found = work.check(wanted) if check else work.run(wanted)
    if as_json:
        print_json(_document(found))
    else:
        _print(found, _what_to_do if check else _what_was_done)
    if check and (found.has_drifted or found.in_force != found.wanted):
        raise typer.Exit(FAILED)


def _fold_log(engine: sa.Engine, settings: Settings) -> Callable[[], object]:
    client = make_redis(settings.cache, settings.redis_timeout)
    invalidate = partial(cache.invalidate, client)
    return lambda: refresh(engine, client, invalidate, settings.report_depth)


@contextmanager
def progress() -> Iterator[OnStep]:
    """Shows on standard error how far it is, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _counted: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        bar = shown.add_task("", total=None)
        yield lambda what, counted: shown.update(bar, description=f"{what} {_amount(counted)}")


def _amount(counted: Counted) -> str:
    return f"{counted.orders:,} orders of {counted.customers:,} customers"


def _document(found: Rebuilt) -> dict[str, object]:
    counted = found.recounted or found.drift or Counted()
    return {
        "orders": counted.orders,
        "customers": counted.customers,
        "drift": found.drift and found.drift.by_table,
        "recounted_for": found.recounted_for,
        "recounted": found.recounted and found.recounted.by_table,
        "uncounted_statuses": {"in_force": found.in_force, "wanted": found.wanted},
        "seconds": found.seconds,
    }


def _print(found: Rebuilt, conclude: Callable[[Rebuilt], Iterator[str]]) -> None:
    if found.drift:
        what = f"{_rows(found.drift)} had drifted" if found.has_drifted else "no drift"
        say(f"Compared {_amount(found.drift)}: {what}.")
    if found.recounted:
        say(
            f"Recounted {_amount(found.recounted)} for {plain(listed(found.recounted_for))}: "
            f"{_rows(found.recounted)}."
        )
    for sentence in conclude(found):
        say(sentence)
    say(f"[dim]{found.seconds:,.1f} s[/]")


def _rows(counted: Counted) -> str:
    rows = (f"{number:,} rows of {table}" for table, number in counted.by_table.items() if number)
    return ", ".join(rows) or "no row changed"


def _what_to_do(found: Rebuilt) -> Iterator[str]:
    if found.has_drifted:
        yield "Nothing is changed: `orderworks rebuild` mends it."
    if found.in_force != found.wanted:
        yield (
            f"Reports leave out {plain(listed(found.in_force))}; UNCOUNTED_STATUSES is "
            f"{plain(listed(found.wanted))}: `orderworks rebuild` puts it in force."
        )


def _what_was_done(found: Rebuilt) -> Iterator[str]:
    if found.has_drifted or found.recounted:
        yield "All is right now; the next refresh publishes it."
