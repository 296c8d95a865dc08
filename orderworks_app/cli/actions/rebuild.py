"""The rollups of reports: compares them with the orders table and corrects them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from orderworks import cache
from orderworks.core.database import make_engine
from orderworks.core.redis import make_redis
from orderworks.core.settings import Settings
from orderworks.reports.excluded_statuses import format_statuses
from orderworks.reports.rebuild import OnStep, Rebuild, RebuildResult
from orderworks.reports.reconcile import ReconcileCounts
from orderworks.reports.refresh import refresh
from orderworks_app.cli.failures import FAILED
from orderworks_app.terminal import escaped, print_json, print_sentence


def run_rebuild(check: bool, as_json: bool) -> None:  # noqa: FBT001 - the options of the command
    """Compare the rollups and correct them; with `check`, only compare.

    Raises:
        typer.Exit: `check` found a difference.
    """
    settings = Settings.load()
    engine = make_engine(settings, "orderworks-cli")
    with progress() as on_step:
        rebuilding = Rebuild(engine, _fold_log(engine, settings), on_step)
        excluded = settings.uncounted_statuses
        result = rebuilding.check(excluded) if check else rebuilding.run(excluded)
    if as_json:
        print_json(_document(result))
    else:
        _print(result, _remedies if check else _outcome)
    if check and (result.has_drifted or result.in_force != result.excluded):
        raise typer.Exit(FAILED)


def _fold_log(engine: sa.Engine, settings: Settings) -> Callable[[], object]:
    client = make_redis(settings.cache, settings.redis_timeout)
    invalidate = partial(cache.invalidate, client)
    return lambda: refresh(engine, client, invalidate, settings.report_depth)


@contextmanager
def progress() -> Iterator[OnStep]:
    """Show the progress on standard error if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _label, _counted: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        bar = display.add_task("", total=None)
        yield lambda label, counted: display.update(bar, description=f"{label} {_amount(counted)}")


def _amount(counted: ReconcileCounts) -> str:
    return f"{counted.orders:,} orders of {counted.customers:,} customers"


def _document(result: RebuildResult) -> dict[str, object]:
    counted = result.recounted or result.drift or ReconcileCounts()
    return {
        "orders": counted.orders,
        "customers": counted.customers,
        "drift": result.drift and result.drift.by_table,
        "recounted_for": result.recounted_for,
        "recounted": result.recounted and result.recounted.by_table,
        "uncounted_statuses": {"in_force": result.in_force, "wanted": result.excluded},
        "seconds": result.seconds,
    }


def _print(result: RebuildResult, conclude: Callable[[RebuildResult], Iterator[str]]) -> None:
    if result.drift:
        drift = f"{_rows(result.drift)} had drifted" if result.has_drifted else "no drift"
        print_sentence(f"Compared {_amount(result.drift)}: {drift}.")
    if result.recounted:
        print_sentence(
            f"Recounted {_amount(result.recounted)} for "
            f"{escaped(format_statuses(result.recounted_for))}: {_rows(result.recounted)}."
        )
    for sentence in conclude(result):
        print_sentence(sentence)
    print_sentence(f"[dim]{result.seconds:,.1f} s[/]")


def _rows(counted: ReconcileCounts) -> str:
    rows = (f"{number:,} rows of {table}" for table, number in counted.by_table.items() if number)
    return ", ".join(rows) or "no row changed"


def _remedies(result: RebuildResult) -> Iterator[str]:
    if result.has_drifted:
        yield "Nothing was changed: run `orderworks rebuild` to correct these rows."
    if result.in_force != result.excluded:
        yield (
            f"Reports exclude {escaped(format_statuses(result.in_force))}; UNCOUNTED_STATUSES is "
            f"{escaped(format_statuses(result.excluded))}: run `orderworks rebuild` to apply it."
        )


def _outcome(result: RebuildResult) -> Iterator[str]:
    if result.has_drifted or result.recounted:
        yield "The rollups are correct now; the next refresh publishes them."
