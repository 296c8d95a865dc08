"""Updates from a filled queue until all are committed and every cached read of their customers is gone.

The job is the same for all sides: of a random order, set the total if the version is newer, and drop the
customer's cached reads by UNLINK. The same servers, the same table with the same keys and triggers.

**The clock.** All updates are in the queue and all worker processes are up before it starts: those of
Orderworks have no nudge yet; those of the others wait in their first job until each process has one. It
stops when the last update is committed and its customer's reads are dropped: at Orderworks when the
streams are empty, which comes after both (looked at each 5 ms); at the others when the last job ends.

**The oracle.** After each measurement every row that was written since must be what a dictionary says,
newest version an order, no row more or less; and no cached read of a touched customer may be there.
"""

import time
from collections.abc import Sequence
from functools import partial
from itertools import chain

from bench.alternate import Result, Side, SideFailed, attempt, stopwatch
from bench.figures import Figures
from bench.peers import job
from bench.peers.registry import BARE_LOOP, BATCHES, CELERY, PEERS, Peer
from bench.stack import BenchStack, open_stack
from bench.updates.streams import is_empty, undrained
from bench.updates.workers import PeerEnvironment, apply_all, open_peer_environment, purge, send
from bench.updates.workloads import BenchUpdate, Workload, check, prepare, random_workload
from orderworks.core.errors import OrderworksError
from orderworks.updates.stream import UpdateStream
from producer import OrderUpdate, Producer

ORDERWORKS = "Orderworks"
LOOP = "a transaction an update, in a loop"
LOOP_SHARE = 25
"""The loop is slow: it does one in so many of the updates."""

TIMEOUT = 300
"""Seconds after which the drains of Orderworks have got stuck."""


def run(rows: int, count: int, rounds: int, *, peers: bool) -> Figures:
    """The rate of every side; with `peers`, beside other job systems instead of the loop."""
    with open_stack(rows) as stack, Producer.from_settings() as producer:
        stack.with_orders()
        environment = open_peer_environment(stack)
        ours = Side(ORDERWORKS, count, lambda: _orderworks(stack, producer, count))
        sides = [_side(environment, each, count) for each in (*(PEERS if peers else ()), BARE_LOOP)]
        loop = Side(LOOP, count // LOOP_SHARE, lambda: _loop(stack, count // LOOP_SHARE))
        results, not_run = attempt(rounds, *([] if peers else [loop]), *sides, ours)
        notes = [*_tuning(PEERS if peers else ()), *comparisons(results)]
        return Figures("updates", [*results, *not_run], notes)


def comparisons(results: Sequence[Result]) -> list[str]:
    """How Orderworks stands to those that it is measured by."""
    rates = {result.name: result.rate for result in results}
    singles = {each.name: rates[each.name] for each in PEERS if each.single and each.name in rates}
    best = max(singles, key=lambda name: singles[name], default=None)
    others = [name for name in (CELERY.name, best, BATCHES.name, BARE_LOOP.name) if name in rates]
    ratios = (
        f"{rates[ORDERWORKS] / rates[name]:.2f} times {name}" for name in dict.fromkeys(others)
    )
    return [f"{ORDERWORKS} does {', '.join(ratios)}"] if others else []


def _side(environment: PeerEnvironment, peer: Peer, count: int) -> Side:
    share = count // peer.share
    return Side(peer.name, share, partial(run_peer, environment, peer, share))


def run_peer(environment: PeerEnvironment, peer: Peer, count: int) -> float:
    """Seconds that a peer takes to apply so many updates.

    Raises:
        SideFailed: it could not be run, or did the job wrongly; says why.
    """
    workload = random_workload(environment.stack, count)
    prepare(environment.stack, workload)
    purge(environment)
    send(environment, peer, str(workload.write(environment.stack.folder / "workload.csv")))
    seconds = apply_all(environment, peer, count)
    try:
        check(environment.stack, workload)
    except OrderworksError as wrong:
        raise SideFailed(str(wrong)) from wrong
    return seconds


def _loop(stack: BenchStack, count: int) -> float:
    workload = random_workload(stack, count)
    prepare(stack, workload)
    connections = job.JobConnections()
    with stopwatch() as elapsed:
        for update in workload.updates:
            connections.update(*update)
        seconds = elapsed()
    check(stack, workload)
    return seconds


def _orderworks(stack: BenchStack, producer: Producer, count: int) -> float:
    workload = random_workload(stack, count)
    prepare(stack, workload)
    with undrained(stack.settings) as stream:
        first, last = _parted(workload, stream)
        producer.update_many(map(_ours, first))
        with stopwatch() as elapsed:
            for update in last:
                stream.release_nudge(stream.shard_of(update.order_id))
                producer.update(_ours(update))
            _wait_until_empty(stream)
            seconds = elapsed()
    check(stack, workload)
    return seconds


def _parted(
    workload: Workload, stream: UpdateStream
) -> tuple[list[BenchUpdate], list[BenchUpdate]]:
    """The updates but for the last one of each shard, which is to wake its drain; and those."""
    last = {stream.shard_of(update.order_id): update for update in workload.updates}
    held_back = {update.version for update in last.values()}
    return [each for each in workload.updates if each.version not in held_back], [*last.values()]


def _ours(update: BenchUpdate) -> OrderUpdate:
    return OrderUpdate(order_id=update.order_id, total=update.total, version=update.version)


def _wait_until_empty(stream: UpdateStream) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not is_empty(stream):
        if time.monotonic() > deadline:
            raise OrderworksError(f"updates still wait after {TIMEOUT} s")
        time.sleep(0.005)


def _tuning(peers: Sequence[Peer]) -> list[str]:
    """How each is run, with the releases."""
    return [
        f"{each.name}: {'; '.join(chain([each.tuning], [', '.join(each.pins)] if each.pins else []))}"
        for each in (*peers, BARE_LOOP)
    ]
