"""`orderworks report`: the published reports, which workers refresh periodically."""

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
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import console, escaped, print_json, print_sentence, table

commands = typer.Typer(rich_markup_mode="markdown")

BAR_WIDTH = 24
"""Characters of the longest bar, if they fit."""

DEFAULT_LIMIT = 10

STANDARD_OUTPUT = Path("-")


@commands.callback(invoke_without_command=True)
def report(context: typer.Context) -> None:
    """Show the published reports; without a subcommand, the top customers of all time."""
    if context.invoked_subcommand is None:
        print_report(_read(Window.ALL))


@commands.command("top-customers")
def top_customers(
    window: Annotated[Window, typer.Option(help="Days, today included, in UTC.")] = Window.ALL,
    limit: Annotated[int, typer.Option(min=1, help="Customers to list.")] = DEFAULT_LIMIT,
    min_orders: Annotated[
        int, typer.Option(min=1, help="Exclude customers with fewer orders.")
    ] = 1,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a self-contained HTML page; `-` prints it."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the customers with the highest order totals, and the age of the report."""
    if as_json and html:
        raise typer.BadParameter("give either --json or --html, not both")
    top = _read(window, limit, min_orders)
    if as_json:
        print_json(top.shown())
    elif html:
        _write_page(top, html)
    else:
        print_report(top)


def _read(window: Window, limit: int = DEFAULT_LIMIT, min_orders: int = 1) -> Report:
    return TopCustomers.from_settings().read(window, limit, min_orders)


def _write_page(top: Report, file: Path) -> None:
    page = render(top, datetime.now(UTC))
    if file == STANDARD_OUTPUT:
        sys.stdout.buffer.write(page.encode())
        return
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error.strerror}") from None
    print_sentence(f"Wrote {escaped(str(file))}: {len(top.rows)} customers, window {top.window}.")


def print_report(top: Report) -> None:
    """Print the report as a table with bars."""
    lines = table("customer", "name", "orders", "total", "", right=("customer", "orders", "total"))
    lines.columns[-1].max_width = BAR_WIDTH
    highest = float(max((row.total for row in top.rows), default=0)) or 1.0
    for row in top.rows:
        # Scaled to the width that is available: a bar that is cut off could not be compared.
        bar = Bar(highest, 0, max(float(row.total), highest / BAR_WIDTH), color="cyan")
        lines.add_row(
            str(row.customer_id),
            escaped(row.name),
            f"{row.orders:,}",
            f"{row.total:,}",
            bar,
        )
    console.print(lines)
    old = max(0.0, (datetime.now(UTC) - top.as_of).total_seconds())
    print_sentence(
        f"[dim]window {top.window}, as of {format_span(old)} ago ({top.as_of:%Y-%m-%d %H:%M:%S} UTC)[/]"
    )
