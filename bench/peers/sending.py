"""The sender of a peer: one process, one connection, an update a call unless the peer has a better way.

`python -m bench.peers.NAME FILE` sends the updates of FILE, a line each: order, total and version. With
a RATE after the file's name they are sent at moments fixed beforehand, so many a second, and the version
is the moment, in microseconds of the system's clock; after SECONDS behind it gives up. The first update
is sent at once and not counted: it connects.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

LEAD = 0.2
"""Seconds from now to the first moment."""

UpdateTuple = tuple[int, str, int]


def updates() -> list[UpdateTuple]:
    """The updates of the file that the command line names."""
    lines = Path(sys.argv[1]).read_text(encoding="ascii").splitlines()
    rows = (line.split(",") for line in lines)
    return [(int(order_id), total, int(version)) for order_id, total, version in rows]


def send_each(send: Callable[[int, str, int], object]) -> None:
    """Send update after update, and print what came of it."""
    waiting = updates()
    send(*waiting[0])
    if len(sys.argv) > 2:  # noqa: PLR2004 - a rate is given
        send_on_time(send, waiting[1:], float(sys.argv[2]), float(sys.argv[3]))
        return
    started = time.perf_counter()
    for update in waiting[1:]:
        send(*update)
    print_result(len(waiting) - 1, time.perf_counter() - started)


def send_all(send: Callable[[list[UpdateTuple]], object]) -> None:
    """Send all in one call, and print what came of it."""
    waiting = updates()
    send(waiting[:1])
    started = time.perf_counter()
    send(waiting[1:])
    print_result(len(waiting) - 1, time.perf_counter() - started)


async def send_each_async(send: Callable[[int, str, int], Awaitable[object]]) -> None:
    """Send update after update on the running loop, and print what came of it."""
    waiting = updates()
    await send(*waiting[0])
    started = time.perf_counter()
    for update in waiting[1:]:
        await send(*update)
    print_result(len(waiting) - 1, time.perf_counter() - started)


def send_on_time(
    send: Callable[[int, str, int], object],
    waiting: list[UpdateTuple],
    rate: float,
    max_lateness: float,
) -> None:
    """Send each at its moment, or as soon after it as can be; print how many were sent."""
    sent = 0
    started = time.perf_counter()
    for order_id, total, moment in moments(waiting, rate, max_lateness):
        send(order_id, total, moment)
        sent += 1
    print_result(sent, time.perf_counter() - started)


def moments(waiting: list[UpdateTuple], rate: float, max_lateness: float) -> Iterator[UpdateTuple]:
    """The updates, each not before its moment, until one comes `patience` seconds too late."""
    begin = time.time() + LEAD
    for number, (order_id, total, _) in enumerate(waiting):
        moment = begin + number / rate
        late = time.time() - moment
        if late > max_lateness:
            return
        if late < 0:
            time.sleep(-late)
        yield order_id, total, int(moment * 1_000_000)


def print_result(sent: int, seconds: float) -> None:
    """Print what the benchmark reads."""
    sys.stdout.write(json.dumps({"sent": sent, "seconds": seconds}) + "\n")
