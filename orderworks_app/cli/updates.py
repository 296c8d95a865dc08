"""`orderworks update`: submit order updates."""

from pathlib import Path
from typing import Annotated

import typer

from orderworks_app.cli.options import AsJson


def update(  # noqa: PLR0913 - the options of a command
    order_id: Annotated[int | None, typer.Argument(help="Id of the order.")] = None,
    *,
    total: Annotated[str | None, typer.Option(help="New total, such as 19.99.")] = None,
    status: Annotated[str | None, typer.Option(help="New status.")] = None,
    customer: Annotated[int | None, typer.Option(help="Id of the new customer.")] = None,
    version: Annotated[
        str | None,
        typer.Option(
            help="Write only fields that no newer write gave: a whole number, or a moment such as "
            "2026-11-26T11:00:00Z. Default: order of arrival."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help='JSON Lines, one update a line: {"order_id": 1, "total": "9.99"}; - reads stdin.'
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Wait for the verdict; exit status 1 if it is dead.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help="With --track: seconds to wait for the verdict. Default: without limit."
        ),
    ] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Return only after Redis wrote it to disk.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit an update of an order, or a file of updates. Workers apply updates in bulk.

    An order that does not exist is created if --customer and --total are given.
    """
    from orderworks_app.cli.actions import updates

    if (order_id is None) == (file is None):
        raise typer.BadParameter("give either ORDER_ID with its new values, or --file")
    if file is not None and (total, status, customer, version) != (None,) * 4:
        raise typer.BadParameter("--file contains the values; omit the options for one order")
    if track and file is not None:
        raise typer.BadParameter("--track works for one order only; omit it with --file")
    if timeout is not None and not track:
        raise typer.BadParameter("--timeout needs --track: it limits the wait for the verdict")
    if file is not None:
        updates.submit_file(file, durable, as_json)
    elif order_id is not None:
        change = updates.make_update(order_id, total, status, customer, version)
        if track:
            updates.track_update(change, durable, timeout, as_json)
        else:
            updates.submit_update(change, durable, as_json)
