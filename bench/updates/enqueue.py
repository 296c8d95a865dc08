"""Enqueues per second, from one process over one connection, while no worker receives messages.

An enqueue is the call of an application for one update of an order. The creation and validation of
`OrderUpdate` count for Orderworks, as does the encoding of arguments for the others. `update_many` has
all updates in one call. Each side sends from a process of its own, in its own environment; the first
call, which connects, is not counted.
"""

from collections.abc import Sequence
from functools import partial

from bench.alternate import Result, Side, attempt
from bench.figures import Figures
from bench.peers.registry import CELERY, OURS, OURS_MANY, PEERS, Peer
from bench.stack import BenchStack, open_stack
from bench.updates.streams import undrained
from bench.updates.workers import PeerEnvironment, open_peer_environment, purge, send
from bench.updates.workloads import random_workload


def run(rows: int, count: int, rounds: int, *, peers: bool) -> Figures:
    """Measure the rate of every side; Celery's `apply_async` is the baseline."""
    with open_stack(rows) as stack:
        return run_on(stack, count, rounds, peers=peers)


def run_on(stack: BenchStack, count: int, rounds: int, *, peers: bool) -> Figures:
    """Do the same on a stack."""
    environment = open_peer_environment(stack)
    sides = [*(PEERS if peers else [CELERY]), OURS, OURS_MANY]
    results, not_run = attempt(rounds, *(_side(environment, each, count) for each in sides))
    return Figures("enqueue", [*results, *not_run], comparisons(results))


def comparisons(results: Sequence[Result]) -> list[str]:
    """Return notes with the rates of Orderworks relative to Celery and to the fastest peer."""
    rates = {result.name: result.rate for result in results}
    peers = {each.name: rates[each.name] for each in PEERS if each.name in rates}
    fastest = max(peers, key=lambda name: peers[name], default=None)
    return [
        f"{ours.name} does {rates[ours.name] / rates[name]:.2f} times {name}"
        for ours, others in ((OURS, (CELERY.name, fastest)), (OURS_MANY, (CELERY.name,)))
        for name in dict.fromkeys(others)
        if name in rates
    ]


def _side(environment: PeerEnvironment, peer: Peer, count: int) -> Side:
    share = count // peer.sends_share
    return Side(peer.name, share, partial(_enqueue, environment, peer, share))


def _enqueue(environment: PeerEnvironment, peer: Peer, count: int) -> float:
    purge(environment)
    file = random_workload(environment.stack, count + 1).write(
        environment.stack.folder / "workload.csv"
    )
    with undrained(environment.stack.settings):
        sent = send(environment, peer, str(file))
    purge(environment)
    return sent.seconds
