"""`orderworks demo`: all functions on generated data, with a check of the results."""

from typing import Annotated

import typer


def demo(
    orders: Annotated[int, typer.Option(min=1000, help="Orders to generate.")] = 150_000,
    *,
    keep: Annotated[bool, typer.Option(help="Keep the stack running until Ctrl-C.")] = False,
) -> None:
    """Run imports, updates, cached reads and a report on real servers, with generated orders.

    At the end it compares the tables, counts, cached reads and reports with results that are computed
    independently. Exit status 0 only if all agree. It uses the stack that `orderworks up` runs, or
    starts one until it ends; the data stay in ORDERWORKS_HOME.
    """
    from orderworks_app.cli.actions.demo import run_demo

    run_demo(orders, keep=keep)
