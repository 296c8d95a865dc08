"""The latency from enqueue to commit, at fixed rates.

**The load** is open: each update has a due time, at a constant rate. Sender processes with a connection
each send at most `SENDER_RATE` a second. A late update is measured from its due time too, so the figures
show if a side cannot keep up. Every order is updated at most once.

**The commit** time is PostgreSQL's (`track_commit_timestamp`, on for this benchmark): the update's
version is its due time in microseconds of the system's clock, and `pg_xact_commit_timestamp` of the
row's `xmin` is read afterwards. So the server is not queried meanwhile, and both times are of one clock.
It is the time at which the commit record is written; its flush to disk is not included for any side.

**Falling behind.** A sender that is more than `MAX_LATENESS` seconds late stops, and updates that are
not committed `MAX_LATENESS` seconds after the last send do not count. Such a side fell behind, and only
its committed updates per second are shown.
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
"""Maximum of updates a second per sender process; higher rates use several."""

WARM_UP_UPDATES = 200
"""Updates before those that count, by which connections are opened."""

RESTARTING, DRAINING = 60.0, 120.0
"""Seconds that PostgreSQL may take to restart, and streams to become empty."""

COMMITS = """
SELECT version, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
FROM orders WHERE version >= :since
"""


class Measured(NamedTuple):
    """One side at one rate in one round.

    Attributes:
        latencies: of the committed updates, from due time to commit, in microseconds.
        due: number of updates to send.
        sent: number of sent ones; fewer if the sender stopped because it was late.
        seconds: from the first due time to the last commit.
    """

    latencies: list[int]
    due: int
    sent: int
    seconds: float

    @property
    def fell_behind(self) -> bool:
        """Return whether some updates were not sent or not committed in time."""
        return len(self.latencies) < self.due

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] / 1000


SideAtRate = tuple[Peer, int]
"""A side, and updates a second."""


def run(rows: int, seconds: float, rounds: int, *, peers: bool) -> Figures:
    """Measure each side at each rate for `seconds`.

    Raises:
        InvalidInput: there are too few orders for one update each.
    """
    if rows <= max(RATES) * seconds:
        raise InvalidInput(
            f"--rows: {seconds:g} s at {max(RATES):,}/s need more orders than {rows:,}"
        )
    with open_stack(rows) as stack:
        return run_on(stack, seconds, rounds, peers=peers)


def run_on(stack: BenchStack, seconds: float, rounds: int, *, peers: bool) -> Figures:
    """Do the same on a stack that has enough orders. PostgreSQL is restarted."""
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
    results = [summary(*loads[name], each) for name, each in measured.items()]
    return Figures("latency", [*results, *not_run], [])


def summary(side: Peer, rate: int, rounds: Sequence[Measured]) -> Latency:
    """Return the medians of a side's rounds at a rate."""
    return Latency(
        name=side.name,
        rate=rate,
        rounds=len(rounds),
        p50=statistics.median(each.percentile(50) for each in rounds),
        p99=statistics.median(each.percentile(99) for each in rounds),
        reached=statistics.median(len(each.latencies) / each.seconds for each in rounds),
        fell_behind=sum(each.fell_behind for each in rounds),
    )


def measure(environment: PeerEnvironment, side: Peer, rate: int, count: int) -> Measured:
    """Send `count` updates at the rate; return their latencies.

    Raises:
        SideFailed: the side could not be run, or committed nothing.
    """
    senders = math.ceil(rate / SENDER_RATE)
    # Each sender sends one more, by which it connects.
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
    """Send each share from a process of its own; return the number of sent updates."""

    def send_share(number: int) -> int:
        file = shares[number].write(environment.stack.folder / f"workload-{number}.csv")
        return send(environment, side, str(file), str(rate / len(shares)), str(MAX_LATENESS)).sent

    with ThreadPoolExecutor(len(shares)) as pool:
        return sum(pool.map(send_share, range(len(shares))))


def keep_commit_times(stack: BenchStack) -> None:
    """Turn on PostgreSQL's commit timestamps: it is stopped, and its supervisor restarts it."""
    with stack.admin.connect() as connection:
        connection.execute(sa.text("ALTER SYSTEM SET track_commit_timestamp = on"))
        folder = connection.execute(sa.text("SHOW data_directory")).scalar_one()
    pid = int((Path(folder) / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    stack.admin.dispose()
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + RESTARTING
    while not _keeps_commit_times(stack):
        if time.monotonic() > deadline:
            raise OrderworksError(f"PostgreSQL did not restart within {RESTARTING:.0f} s")
        time.sleep(0.1)


def _keeps_commit_times(stack: BenchStack) -> bool:
    try:
        with stack.admin.connect() as connection:
            value = connection.execute(sa.text("SHOW track_commit_timestamp")).scalar_one()
            return bool(value == "on")
    except sa.exc.DBAPIError:
        return False


@contextmanager
def _warm_up(environment: PeerEnvironment, side: Peer) -> Iterator[Callable[[int], bool]]:
    """Run the side's workers for a first few updates.

    Yields a function that returns whether a number of updates is applied.
    """
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
    """Use the stack's own workers; wait after the block until the streams are empty."""
    settings = stack.settings
    with make_redis(settings.stream, 5) as client:
        stream = UpdateStream(client, settings.update_shards, settings.stream_limit)
        yield lambda _: is_empty(stream)
        deadline = time.monotonic() + DRAINING
        while not is_empty(stream):
            if time.monotonic() > deadline:
                raise OrderworksError(f"updates are still pending after {DRAINING:.0f} s")
            time.sleep(0.1)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MAX_LATENESS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def _measured(stack: BenchStack, since: int, due: int, sent: int) -> Measured:
    with stack.engine.connect() as connection:
        rows = list(connection.execute(sa.text(COMMITS), {"since": since}))
    if not rows:
        raise SideFailed(f"none of {sent:,} updates was committed")
    seconds = (max(commit for _, commit in rows) - min(due_time for due_time, _ in rows)) / 1e6
    return Measured([commit - due_time for due_time, commit in rows], due, sent, seconds)


def _round_text(measured: Measured) -> str:
    """Return a round's figures as printed for progress."""
    if measured.fell_behind:
        counts = (
            f"{measured.sent:,} of {measured.due:,} sent, {len(measured.latencies):,} committed"
        )
        return f"fell behind: {counts} in {measured.seconds:.1f} s"
    return f"p50 {measured.percentile(50):.1f} ms, p99 {measured.percentile(99):.1f} ms"
