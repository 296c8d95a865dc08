"""`orderworks report`: the published reports, which workers refresh periodically."""

from pathlib import Path
from typing import Annotated

import typer

from orderworks.reports.windows import Window
from orderworks_app.cli.options import AsJson

commands = typer.Typer(rich_markup_mode="markdown")

DEFAULT_LIMIT = 10


@commands.callback(invoke_without_command=True)
def report(context: typer.Context) -> None:
    """Show the published reports; without a subcommand, the top customers of all time."""
    from orderworks_app.cli.actions.reports import print_report, read_report

    if context.invoked_subcommand is None:
        print_report(read_report(Window.ALL, DEFAULT_LIMIT))


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
    from orderworks_app.cli.actions.reports import print_report, read_report, write_page
    from orderworks_app.terminal import print_json

    if as_json and html:
        raise typer.BadParameter("give either --json or --html, not both")
    top = read_report(window, limit, min_orders)
    if as_json:
        print_json(top.shown())
    elif html:
        write_page(top, html)
    else:
        print_report(top)
