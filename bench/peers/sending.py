"""The sender of a peer: one process and connection, one update per call unless it has a better way.

    python -m bench.peers.NAME FILE [RATE SECONDS]

sends the updates of FILE, a line each: order, total and version. With a RATE per second each update has
a due time at which it is sent, and its version is the due time in microseconds of the system's clock;
the sender stops when it is more than SECONDS late. The first update is sent before, and not counted: it
connects.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

LEAD = 0.2
"""Seconds from the call to the first due time."""

UpdateTuple = tuple[int, str, int]


def updates() -> list[UpdateTuple]:
    """Return the updates of the file that the command line names."""
    lines = Path(sys.argv[1]).read_text(encoding="ascii").splitlines()
    rows = (line.split(",") for line in lines)
    return [(int(order_id), total, int(version)) for order_id, total, version in rows]


def send_each(send: Callable[[int, str, int], object]) -> None:
    """Send one update after another, and print the result."""
    first, *others = updates()
    send(*first)
    if len(sys.argv) > 2:  # noqa: PLR2004 - a rate is given
        send_on_schedule(send, others, float(sys.argv[2]), float(sys.argv[3]))
        return
    started = time.perf_counter()
    for update in others:
        send(*update)
    print_result(len(others), time.perf_counter() - started)


def send_all(send: Callable[[list[UpdateTuple]], object]) -> None:
    """Send all updates in one call, and print the result."""
    first, *others = updates()
    send([first])
    started = time.perf_counter()
    send(others)
    print_result(len(others), time.perf_counter() - started)


async def send_each_async(send: Callable[[int, str, int], Awaitable[object]]) -> None:
    """Send one update after another on the running loop, and print the result."""
    first, *others = updates()
    await send(*first)
    started = time.perf_counter()
    for update in others:
        await send(*update)
    print_result(len(others), time.perf_counter() - started)


def send_on_schedule(
    send: Callable[[int, str, int], object],
    pending: list[UpdateTuple],
    rate: float,
    max_lateness: float,
) -> None:
    """Send each update at its due time, or as soon as possible after it; print the result."""
    sent = 0
    started = time.perf_counter()
    for order_id, total, due_time in scheduled(pending, rate, max_lateness):
        send(order_id, total, due_time)
        sent += 1
    print_result(sent, time.perf_counter() - started)


def scheduled(
    pending: list[UpdateTuple], rate: float, max_lateness: float
) -> Iterator[UpdateTuple]:
    """Yield the updates, each not before its due time, until one is `max_lateness` seconds late."""
    first_due = time.time() + LEAD
    for number, (order_id, total, _) in enumerate(pending):
        due = first_due + number / rate
        late = time.time() - due
        if late > max_lateness:
            return
        if late < 0:
            time.sleep(-late)
        yield order_id, total, int(due * 1_000_000)


def print_result(sent: int, seconds: float) -> None:
    """Print the result as the JSON document that the benchmark reads."""
    sys.stdout.write(json.dumps({"sent": sent, "seconds": seconds}) + "\n")
