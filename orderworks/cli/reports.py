"""`orderworks report`: the reports that beat keeps ready."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from orders import reports
from orders.database import make_engine
from orders.redis import make_redis
from orders.reports import Report, Window
from orders.settings import Settings
from orderworks.cli.output import console, print_json, say, table
from orderworks.spans import span

commands = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Read the reports that are kept ready."
)

BAR = 24


@commands.callback()
def report() -> None:
    """Read the reports that are kept ready."""


@commands.command("top-customers")
def top_customers(
    window: Annotated[Window, typer.Option(help="Days, today included, in UTC.")] = Window.ALL,
    limit: Annotated[int, typer.Option(min=1, help="Customers to list.")] = 10,
    min_orders: Annotated[int, typer.Option(min=1, help="Leave out those with fewer.")] = 1,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the customers with the highest order totals, and how fresh the list is."""
    settings = Settings.load()
    found = reports.top_customers(
        make_engine(settings, "orderworks-cli"),
        make_redis(settings.cache, settings.redis_timeout),
        window,
        limit,
        min_orders,
    )
    if as_json:
        print_json({"window": found.window, "as_of": found.as_of, "rows": found.rows})
    else:
        print_report(found)


def print_report(found: Report) -> None:
    """The report as a table with bars."""
    lines = table("customer", "name", "orders", "total", "", right=("customer", "orders", "total"))
    highest = max((row.total for row in found.rows), default=None) or 1
    for row in found.rows:
        bar = "█" * max(1, round(BAR * float(row.total / highest)))
        lines.add_row(
            str(row.customer_id),
            escape(row.name),
            f"{row.orders:,}",
            f"{row.total:,}",
            f"[cyan]{bar}[/]",
        )
    console.print(lines)
    old = (datetime.now(UTC) - found.as_of).total_seconds()
    say(
        f"[dim]window {found.window}, as of {span(old)} ago ({found.as_of:%Y-%m-%d %H:%M:%S} UTC)[/]"
    )
