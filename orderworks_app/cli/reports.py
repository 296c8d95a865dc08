"""`orderworks report`: the reports that beat keeps ready."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar

from orderworks.reports.top_customers import Report, TopCustomers
from orderworks.reports.windows import Window
from orderworks_app.cli.options import AsJson
from orderworks_app.cli.report_html import render
from orderworks_app.operations.timespans import span
from orderworks_app.terminal import console, plain, print_json, say, table

commands = typer.Typer(rich_markup_mode="markdown")

BAR = 24
"""Characters of the longest bar, where they fit."""

LIMIT = 10

STANDARD_OUTPUT = Path("-")


@commands.callback(invoke_without_command=True)
def report(context: typer.Context) -> None:
    """Read the reports that are kept ready; by itself, the top customers of all time."""
    if context.invoked_subcommand is None:
        print_report(_read(Window.ALL))


@commands.command("top-customers")
def top_customers(
    window: Annotated[Window, typer.Option(help="Days, today included, in UTC.")] = Window.ALL,
    limit: Annotated[int, typer.Option(min=1, help="Customers to list.")] = LIMIT,
    min_orders: Annotated[int, typer.Option(min=1, help="Leave out those with fewer.")] = 1,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page that needs nothing else; `-` prints it."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the customers with the highest order totals, and how fresh the list is."""
    if as_json and html:
        raise typer.BadParameter("give either --json or --html")
    found = _read(window, limit, min_orders)
    if as_json:
        print_json(found.shown())
    elif html:
        _write_page(found, html)
    else:
        print_report(found)


def _read(window: Window, limit: int = LIMIT, min_orders: int = 1) -> Report:
    return TopCustomers.from_settings().read(window, limit, min_orders)


def _write_page(found: Report, file: Path) -> None:
    page = render(found, datetime.now(UTC))
    if file == STANDARD_OUTPUT:
        sys.stdout.buffer.write(page.encode())
        return
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error.strerror}") from None
    say(f"Wrote {plain(str(file))}: {len(found.rows)} customers, window {found.window}.")


def print_report(found: Report) -> None:
    """The report as a table with bars."""
    lines = table("customer", "name", "orders", "total", "", right=("customer", "orders", "total"))
    lines.columns[-1].max_width = BAR
    highest = float(max((row.total for row in found.rows), default=0)) or 1.0
    for row in found.rows:
        # Drawn as wide as there is room: a bar that is cut off compares with no other one.
        bar = Bar(highest, 0, max(float(row.total), highest / BAR), color="cyan")
        lines.add_row(
            str(row.customer_id),
            plain(row.name),
            f"{row.orders:,}",
            f"{row.total:,}",
            bar,
        )
    console.print(lines)
    old = max(0.0, (datetime.now(UTC) - found.as_of).total_seconds())
    say(
        f"[dim]window {found.window}, as of {span(old)} ago ({found.as_of:%Y-%m-%d %H:%M:%S} UTC)[/]"
    )
