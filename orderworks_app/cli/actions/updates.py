"""Updates: submits them and waits for their verdicts."""

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from orderworks.core.errors import InvalidFile, InvalidUpdate
from orderworks.core.settings import Settings
from orderworks.updates.messages import parse_version
from orderworks_app.cli.actions.interrupts import explained_interrupt, update_continues
from orderworks_app.cli.failures import FAILED
from orderworks_app.terminal import escaped, print_json, print_sentence
from producer import OrderUpdate, Producer, Receipt, Verdict


def make_update(
    order_id: int, total: str | None, status: str | None, customer: int | None, version: str | None
) -> OrderUpdate:
    """Return the update that the options of the command give.

    Raises:
        InvalidUpdate: a value is not valid, or no value is given.
    """
    return OrderUpdate(
        order_id=order_id,
        total=total,
        status=status,
        customer_id=customer,
        version=None if version is None else parse_version(version),
    )


def submit_update(change: OrderUpdate, durable: bool, as_json: bool) -> None:  # noqa: FBT001
    """Submit an update and print the id of its entry."""
    with Producer.from_settings() as producer:
        entry = producer.update(change, durable=durable)
    _print_result({"accepted": 1, "entry": entry}, f"Accepted as {entry}.", as_json)


def track_update(change: OrderUpdate, durable: bool, timeout: float | None, as_json: bool) -> None:  # noqa: FBT001
    """Submit an update, and wait for its verdict.

    Raises:
        typer.Exit: the update is dead.
    """
    with Producer.from_settings() as producer:
        receipt = producer.update(change, durable=durable, track=True)
        with explained_interrupt(lambda: update_continues(receipt.entry, change.order_id)):
            sys.stderr.write(f"orderworks: {_waiting(change, receipt.entry)}\n")
            _follow(receipt, timeout, as_json)


def _waiting(change: OrderUpdate, entry: str) -> str:
    """Return that the update is accepted, and what the command waits for."""
    accepted = f"accepted as {entry}; waiting until a worker has applied it"
    if change.customer_id is not None and change.total is not None:
        return accepted
    patience = Settings.load().unknown_order_patience
    return (
        f"{accepted}. If there is no order {change.order_id}, it waits {patience:g} s for that order, "
        "and is dead then"
    )


def submit_file(file: Path, durable: bool, as_json: bool) -> None:  # noqa: FBT001
    """Submit a file of updates and print their number."""
    with Producer.from_settings() as producer:
        accepted = producer.update_many(_read(file), durable=durable)
    _print_result({"accepted": accepted}, f"Accepted {accepted:,} updates.", as_json)


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
