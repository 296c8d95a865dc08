"""`orderworks update`: submit order updates."""

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from orderworks.core.errors import InvalidFile, InvalidUpdate
from orderworks.updates.messages import parse_version
from orderworks_app.cli.failures import FAILED
from orderworks_app.cli.options import AsJson
from orderworks_app.terminal import escaped, print_json, print_sentence
from producer import OrderUpdate, Producer, Receipt, Verdict


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
        typer.Option(min=0, help="With --track: seconds to wait. Default: without limit."),
    ] = None,
    durable: Annotated[
        bool, typer.Option("--durable", help="Return only after Redis wrote it to disk.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit an update of an order, or a file of updates. Workers apply updates in bulk.

    An order that does not exist is created if --customer and --total are given.
    """
    if (order_id is None) == (file is None):
        raise typer.BadParameter("give either ORDER_ID with its new values, or --file")
    if file is not None and (total, status, customer, version) != (None,) * 4:
        raise typer.BadParameter("--file contains the values; omit the options for one order")
    if track and file is not None:
        raise typer.BadParameter("--track works for one order only; omit it with --file")
    if timeout is not None and not track:
        raise typer.BadParameter("--timeout needs --track: it limits the wait for the verdict")
    with Producer.from_settings() as producer:
        if file is not None:
            accepted = producer.update_many(_read(file), durable=durable)
            _print_result({"accepted": accepted}, f"Accepted {accepted:,} updates.", as_json)
        elif order_id is not None:
            change = OrderUpdate(
                order_id=order_id,
                total=total,
                status=status,
                customer_id=customer,
                version=None if version is None else parse_version(version),
            )
            if track:
                _follow(producer.update(change, durable=durable, track=True), timeout, as_json)
            else:
                entry = producer.update(change, durable=durable)
                _print_result({"accepted": 1, "entry": entry}, f"Accepted as {entry}.", as_json)


def _follow(receipt: Receipt, timeout: float | None, as_json: bool) -> None:  # noqa: FBT001
    """Wait for the verdict and print it; exit with status 1 if the update is dead."""
    verdict, entry = receipt.wait(timeout), receipt.entry
    document = {"accepted": 1, "entry": entry, "verdict": verdict, "reason": receipt.reason}
    because = f" ({escaped(receipt.reason)})" if receipt.reason else ""
    _print_result(document, f"Accepted as {entry}: {verdict}{because}.", as_json)
    if verdict is Verdict.DEAD:
        raise typer.Exit(FAILED)


def _print_result(document: dict[str, object], sentence: str, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        print_json(document)
    else:
        print_sentence(sentence)


def _read(file: Path) -> Iterator[OrderUpdate]:
    if str(file) == "-":
        yield from _parsed(sys.stdin.buffer)
        return
    try:
        with file.open("rb") as lines:
            yield from _parsed(lines)
    except OSError as error:
        raise InvalidFile(f"{file}: {error.strerror}") from None


def _parsed(lines: Iterable[bytes]) -> Iterator[OrderUpdate]:
    for number, line in enumerate(lines, 1):
        if line.removeprefix(codecs.BOM_UTF8).strip():
            try:
                yield OrderUpdate.decode(line.removeprefix(codecs.BOM_UTF8))
            except InvalidUpdate as error:
                raise InvalidUpdate(f"line {number}: {error.field}", error.problem) from None
