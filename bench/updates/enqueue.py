"""Enqueues a second, from one process over one connection, while no worker takes anything.

An enqueue is what an application calls for one update of an order, with the update made for it: at
Orderworks `OrderUpdate` is built and validated within the time, at the others the arguments are encoded.
`update_many` has all of them in one call. Each side sends from a process of its own, in its own
environment; the first call, which connects, is not counted.
"""

from collections.abc import Sequence
from functools import partial

from bench.alternate import Result, Side, attempt
from bench.figures import Figures
from bench.peers.registry import CELERY, OURS, OURS_MANY, PEERS, Peer
from bench.shop import open_shop
from bench.updates.streams import undrained
from bench.updates.workers import PeerEnvironment, open_peer_environment, purge, send
from bench.updates.workloads import random_workload


def run(rows: int, count: int, rounds: int, *, peers: bool) -> Figures:
    """The rate of every enqueue; Celery's `apply_async` is the baseline."""
    with open_shop(rows) as shop:
        arena = open_peer_environment(shop)
        contenders = [*(PEERS if peers else [CELERY]), OURS, OURS_MANY]
        results, not_run = attempt(rounds, *(_side(arena, each, count) for each in contenders))
        return Figures("enqueue", [*results, *not_run], comparisons(results))


def comparisons(results: Sequence[Result]) -> list[str]:
    """How our enqueues stand to those that they are measured by."""
    rates = {result.name: result.rate for result in results}
    peers = {each.name: rates[each.name] for each in PEERS if each.name in rates}
    fastest = max(peers, key=lambda name: peers[name], default=None)
    return [
        f"{ours.name} does {rates[ours.name] / rates[name]:.2f} times {name}"
        for ours, others in ((OURS, (CELERY.name, fastest)), (OURS_MANY, (CELERY.name,)))
        for name in dict.fromkeys(others)
        if name in rates
    ]


def _side(arena: PeerEnvironment, contender: Peer, count: int) -> Side:
    share = count // contender.sends_share
    return Side(contender.name, share, partial(_enqueue, arena, contender, share))


def _enqueue(arena: PeerEnvironment, contender: Peer, count: int) -> float:
    purge(arena)
    file = random_workload(arena.shop, count + 1).write(arena.shop.folder / "wave.csv")
    with undrained(arena.shop.settings):
        sent = send(arena, contender, str(file))
    purge(arena)
    return sent.seconds
