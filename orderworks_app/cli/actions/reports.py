"""Reports: reads them, and prints them as tables or as pages."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.bar import Bar

from orderworks.reports.top_customers import Report, TopCustomers
from orderworks.reports.windows import Window
from orderworks_app.cli.actions.report_html import render
from orderworks_app.operations.timespans import format_span
from orderworks_app.terminal import console, escaped, print_sentence, table

BAR_WIDTH = 24
"""Characters of the longest bar, if they fit."""

STANDARD_OUTPUT = Path("-")


def read_report(window: Window, limit: int, min_orders: int = 1) -> Report:
    """Read the published report of a window."""
    return TopCustomers.from_settings().read(window, limit, min_orders)


def write_page(top: Report, file: Path) -> None:
    """Write the report as an HTML page.

    Raises:
        typer.BadParameter: the file cannot be written.
    """
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
    if top.rows:
        console.print(lines)
    else:
        print_sentence("No customers with such orders.")
    old = max(0.0, (datetime.now(UTC) - top.as_of).total_seconds())
    print_sentence(
        f"[dim]window {top.window}, as of {format_span(old)} ago ({top.as_of:%Y-%m-%d %H:%M:%S} UTC)[/]"
    )
