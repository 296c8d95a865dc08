"""From enqueue to commit, at fixed rates: what a customer waits for.

**The load** is open: the moment of each send is fixed beforehand, one after another at the rate, from
processes of their own over a connection each, which send `SENDER_RATE` a second at the most. A send that
is late counts from its moment all the same, so a side that cannot keep up shows it. Every order is
updated once at the most.

**The commit** is what PostgreSQL itself says (`track_commit_timestamp`, on for this benchmark): the
update's version is its moment in microseconds of the system's clock, and `pg_xact_commit_timestamp` of
the row's `xmin` is read afterwards. Nothing is asked of the server meanwhile, and one clock gives both.
It is the moment at which the commit's record is written; its flush to disk is left out for all alike.

**Falling behind.** A sender that is more than `PATIENCE` seconds late stops, and what is not committed
`PATIENCE` seconds after the last send does not count. Such a side fell behind; what it did reach, in
updates a second, is shown instead.
"""

import math
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from bench.alternate import SideFailed, take_turns
from bench.figures import Figures, Latency
from bench.peers.registry import CELERY, DRAMATIQ, OURS, Peer
from bench.stack import BenchStack, open_stack
from bench.updates.streams import is_empty
from bench.updates.workers import (
    PeerEnvironment,
    applied,
    open_peer_environment,
    purge,
    send,
    start_together,
    wait_for,
    working,
)
from bench.updates.workloads import Workload, distinct_workload, prepare, random_workload
from orderworks.core.errors import InvalidInput, OrderworksError
from orderworks.core.redis import make_redis
from orderworks.updates.stream import UpdateStream

RATES = (50, 1_000, 10_000)
MAX_LATENESS = 5.0

SENDER_RATE = 5_000
"""Updates a second that one process is to send at the most; for higher rates there are several."""

WARM_UP_UPDATES = 200
"""Updates before those that count: by then connections are open."""

RESTARTING, DRAINING = 60.0, 120.0
"""Seconds that PostgreSQL may take to come back, and streams to become empty."""

COMMITS = """
SELECT version, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
FROM orders WHERE version >= :since
"""


class Measured(NamedTuple):
    """One side at one rate, once: how long each committed update took, in microseconds.

    Attributes:
        due: updates that were to be sent.
        sent: those that were, before the sender gave up.
        seconds: from the first moment to the last commit.
    """

    waited: list[int]
    due: int
    sent: int
    seconds: float

    @property
    def fell_behind(self) -> bool:
        """Whether some were not sent, or not committed, in time."""
        return len(self.waited) < self.due

    def percentile(self, percent: int) -> float:
        """Milliseconds within which so many percent were committed."""
        ordered = sorted(self.waited)
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] / 1000


SideAtRate = tuple[Peer, int]
"""A side, and updates a second."""


def run(rows: int, seconds: float, rounds: int, *, peers: bool) -> Figures:
    """Each side at each rate for so many seconds."""
    if rows <= max(RATES) * seconds:
        raise InvalidInput(
            f"--rows: {seconds:g} s at {max(RATES):,}/s need more orders than {rows:,}"
        )
    with open_stack(rows) as stack:
        keep_commit_times(stack)
        stack.with_orders()
        environment = open_peer_environment(stack)
        sides = [CELERY, *([DRAMATIQ] if peers else []), OURS]
        loads: Mapping[str, SideAtRate] = {
            f"{side.name} at {rate:,}/s": (side, rate) for rate in RATES for side in sides
        }
        runs = {
            name: partial(measure, environment, side, rate, int(rate * seconds))
            for name, (side, rate) in loads.items()
        }
        measured, not_run = take_turns(rounds, runs, _round_text)
        found = [summary(*loads[name], each) for name, each in measured.items()]
        return Figures("latency", [*found, *not_run], [])


def summary(side: Peer, rate: int, rounds: Sequence[Measured]) -> Latency:
    """The medians of a side's rounds at a rate."""
    return Latency(
        name=side.name,
        rate=rate,
        rounds=len(rounds),
        p50=statistics.median(each.percentile(50) for each in rounds),
        p99=statistics.median(each.percentile(99) for each in rounds),
        reached=statistics.median(len(each.waited) / each.seconds for each in rounds),
        fell_behind=sum(each.fell_behind for each in rounds),
    )


def measure(environment: PeerEnvironment, side: Peer, rate: int, count: int) -> Measured:
    """Send so many updates at the rate; how long each took until it was committed.

    Raises:
        SideFailed: the side could not be run, or committed nothing.
    """
    senders = math.ceil(rate / SENDER_RATE)
    # Each sender connects by one more.
    workload = distinct_workload(environment.stack, count + senders)
    prepare(environment.stack, workload)
    purge(environment)
    shares = [Workload(workload.updates[number::senders]) for number in range(senders)]
    with _warm_up(environment, side) as is_applied:
        since = time.time_ns() // 1000
        sent = _send_at_once(environment, side, rate, shares)
        _wait_until(lambda: is_applied(WARM_UP_UPDATES + senders + sent))
        return _measured(environment.stack, since, count, sent)


def _send_at_once(
    environment: PeerEnvironment, side: Peer, rate: int, shares: Sequence[Workload]
) -> int:
    """Send each share from a process of its own; how many were sent of all."""

    def send_share(number: int) -> int:
        file = shares[number].write(environment.stack.folder / f"workload-{number}.csv")
        return send(environment, side, str(file), str(rate / len(shares)), str(MAX_LATENESS)).sent

    with ThreadPoolExecutor(len(shares)) as pool:
        return sum(pool.map(send_share, range(len(shares))))


def keep_commit_times(stack: BenchStack) -> None:
    """Let PostgreSQL keep the moment of each commit: it starts again for that, by its supervisor."""
    with stack.admin.connect() as connection:
        connection.execute(sa.text("ALTER SYSTEM SET track_commit_timestamp = on"))
        folder = connection.execute(sa.text("SHOW data_directory")).scalar_one()
    pid = int((Path(folder) / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    stack.admin.dispose()
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + RESTARTING
    while not _keeps_commit_times(stack):
        if time.monotonic() > deadline:
            raise OrderworksError(f"PostgreSQL was not back within {RESTARTING:.0f} s")
        time.sleep(0.1)


def _keeps_commit_times(stack: BenchStack) -> bool:
    try:
        with stack.admin.connect() as connection:
            answer = connection.execute(sa.text("SHOW track_commit_timestamp")).scalar_one()
            return bool(answer == "on")
    except sa.exc.DBAPIError:
        return False


@contextmanager
def _warm_up(environment: PeerEnvironment, side: Peer) -> Iterator[Callable[[int], bool]]:
    """The side's workers, which have worked before; a call tells whether so many are applied."""
    file = str(
        random_workload(environment.stack, WARM_UP_UPDATES).write(
            environment.stack.folder / "warming.csv"
        )
    )
    if not side.workers:
        with _drained(environment.stack) as is_applied:
            send(environment, side, file)
            _wait_until(lambda: is_applied(WARM_UP_UPDATES))
            yield is_applied
        return
    with working(environment, side) as watch:
        send(environment, side, file)
        start_together(environment, watch)
        wait_for(lambda: applied(environment)[0] >= WARM_UP_UPDATES, watch, "to warm up")
        yield lambda count: applied(environment)[0] >= count


@contextmanager
def _drained(stack: BenchStack) -> Iterator[Callable[[int], bool]]:
    """The workers of the stack. At the end nothing waits for them."""
    settings = stack.settings
    with make_redis(settings.stream, 5) as client:
        stream = UpdateStream(client, settings.update_shards, settings.stream_limit)
        yield lambda _: is_empty(stream)
        deadline = time.monotonic() + DRAINING
        while not is_empty(stream):
            if time.monotonic() > deadline:
                raise OrderworksError(f"updates still wait after {DRAINING:.0f} s")
            time.sleep(0.1)


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MAX_LATENESS
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)


def _measured(stack: BenchStack, since: int, due: int, sent: int) -> Measured:
    with stack.engine.connect() as connection:
        found = list(connection.execute(sa.text(COMMITS), {"since": since}))
    if not found:
        raise SideFailed(f"none of {sent:,} updates was committed")
    seconds = (max(commit for _, commit in found) - min(moment for moment, _ in found)) / 1_000_000
    return Measured([commit - moment for moment, commit in found], due, sent, seconds)


def _round_text(measured: Measured) -> str:
    """A round as the person who waits is told of it."""
    if measured.fell_behind:
        done = f"{measured.sent:,} of {measured.due:,} sent, {len(measured.waited):,} committed"
        return f"fell behind: {done} in {measured.seconds:.1f} s"
    return f"p50 {measured.percentile(50):.1f} ms, p99 {measured.percentile(99):.1f} ms"
