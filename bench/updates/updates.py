"""Updates from a filled queue until all are committed and their customers' cached reads invalidated.

The job is the same for all sides: for a random order, set the total if the version is newer, and
invalidate the customer's cached reads by UNLINK. Servers, table, keys and triggers are the same.

**The clock.** It starts when all updates are in the queue and all worker processes run: those of
Orderworks without a nudge; those of the others wait in their first job until each process has one. It
stops when the last update is committed and its customer's reads are invalidated: for Orderworks when the
streams are empty, which follows both (checked every 5 ms); for the others when the last job ends.

**The check.** After each measurement the rows written since its start must be those of a dictionary with
the newest version of each order, and no customer of these orders may have a cached read.
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
"""The loop does one update of this number, since it is slow."""

TIMEOUT = 300
"""Seconds after which the drains of Orderworks are taken to be stuck."""


def run(rows: int, count: int, rounds: int, *, peers: bool) -> Figures:
    """Measure the rate of every side; with `peers` other job systems instead of the loop."""
    with open_stack(rows) as stack:
        return run_on(stack, count, rounds, peers=peers)


def run_on(stack: BenchStack, count: int, rounds: int, *, peers: bool) -> Figures:
    """Do the same on a stack."""
    with Producer.from_settings() as producer:
        stack.with_orders()
        environment = open_peer_environment(stack)
        ours = Side(ORDERWORKS, count, lambda: _orderworks(stack, producer, count))
        sides = [_side(environment, each, count) for each in (*(PEERS if peers else ()), BARE_LOOP)]
        loop = Side(LOOP, count // LOOP_SHARE, lambda: _loop(stack, count // LOOP_SHARE))
        results, not_run = attempt(rounds, *([] if peers else [loop]), *sides, ours)
        notes = [*_tuning(PEERS if peers else ()), *comparisons(results)]
        return Figures("updates", [*results, *not_run], notes)


def comparisons(results: Sequence[Result]) -> list[str]:
    """Return a note with the rate of Orderworks relative to the best sides of each kind."""
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
    """Run a peer until it has applied `count` updates; return the seconds.

    Raises:
        SideFailed: it could not be run, or had a wrong result.
    """
    workload = random_workload(environment.stack, count)
    prepare(environment.stack, workload)
    purge(environment)
    send(environment, peer, str(workload.write(environment.stack.folder / "workload.csv")))
    seconds = apply_all(environment, peer, count)
    try:
        check(environment.stack, workload)
    except OrderworksError as error:
        raise SideFailed(str(error)) from error
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
        first, last = _split_off_last(workload, stream)
        producer.update_many(map(_order_update, first))
        with stopwatch() as elapsed:
            for update in last:
                stream.release_nudge(stream.shard_of(update.order_id))
                producer.update(_order_update(update))
            _wait_until_empty(stream)
            seconds = elapsed()
    check(stack, workload)
    return seconds


def _split_off_last(
    workload: Workload, stream: UpdateStream
) -> tuple[list[BenchUpdate], list[BenchUpdate]]:
    """Return all updates except the last one of each shard, and those, which start the drains."""
    last = {stream.shard_of(update.order_id): update for update in workload.updates}
    last_versions = {update.version for update in last.values()}
    return [each for each in workload.updates if each.version not in last_versions], [
        *last.values()
    ]


def _order_update(update: BenchUpdate) -> OrderUpdate:
    return OrderUpdate(order_id=update.order_id, total=update.total, version=update.version)


def _wait_until_empty(stream: UpdateStream) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not is_empty(stream):
        if time.monotonic() > deadline:
            raise OrderworksError(f"updates are still pending after {TIMEOUT} s")
        time.sleep(0.005)


def _tuning(peers: Sequence[Peer]) -> list[str]:
    """Return notes on how each side is run, with its releases."""
    return [
        f"{each.name}: {'; '.join(chain([each.tuning], [', '.join(each.pins)] if each.pins else []))}"
        for each in (*peers, BARE_LOOP)
    ]
