"""Senders and workers of contenders: run, held until all are ready, timed, ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from bench import ROOT
from bench.alternate import SideFailed
from bench.peers.clock import DONE, GO, READY
from bench.peers.environments import python_of
from bench.peers.registry import PROCESSES, Peer
from bench.shop import BenchStack
from orderworks.core.redis import Redis, make_redis

QUEUE_NUMBER, CLOCK_NUMBER = 2, 3
"""Databases of the stack's Valkey that the stack itself does not use."""

QUEUE_DATABASE = "bench_queue"
"""The database of a peer whose queue is in PostgreSQL."""

WORKING, STOPPING = 240.0, 10.0
"""Seconds that workers may take to do what they are to do, and to end."""

WorkerProcess = subprocess.Popen[bytes]


class Sent(msgspec.Struct):
    """What a sender did in so many seconds, without starting and connecting."""

    sent: int
    seconds: float


class PeerEnvironment(NamedTuple):
    """Where contenders meet: the shop, and the databases for their queues and clocks."""

    shop: BenchStack
    queue: Redis
    clock: Redis

    def environment(self) -> dict[str, str]:
        """All that a contender is told: not CELERY_BROKER_URL or BROKER_URL, which Celery obeys."""
        settings = self.shop.settings
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.shop.folder),
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": settings.database,
            "CACHE_REDIS_URL": settings.cache,
            "ORDERS_STREAM_URL": settings.stream,
            "ORDERS_BROKER_URL": settings.broker,
            "QUEUE_URL": numbered(settings.broker, QUEUE_NUMBER),
            "QUEUE_DATABASE_URL": beside(settings.database),
            "CLOCK_URL": numbered(settings.broker, CLOCK_NUMBER),
        }


def open_peer_environment(shop: BenchStack) -> PeerEnvironment:
    """Clients for what contenders use."""
    addresses = (numbered(shop.settings.broker, each) for each in (QUEUE_NUMBER, CLOCK_NUMBER))
    queue, clock = (make_redis(address, 5) for address in addresses)
    return PeerEnvironment(shop, queue, clock)


def numbered(url: str, number: int) -> str:
    """The address of another database of the same server."""
    return f"{url.rpartition('/')[0]}/{number}"


def beside(database: str) -> str:
    """The address of the database for queues, on the same PostgreSQL."""
    return f"{database.rpartition('/')[0]}/{QUEUE_DATABASE}"


def send(arena: PeerEnvironment, contender: Peer, *arguments: str) -> Sent:
    """Run the contender's sender until it ends.

    Raises:
        SideFailed: it went wrong; says what it said last.
    """
    command = [python_of(contender), "-m", f"bench.peers.{contender.module}", *arguments]
    done = subprocess.run(  # noqa: S603 - ours
        command, cwd=ROOT, env=arena.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SideFailed(f"its sender failed: {last_line(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=Sent)


def apply_all(arena: PeerEnvironment, contender: Peer, count: int) -> float:
    """Seconds from the moment all workers are ready until so many updates in the queue are applied."""
    with working(arena, contender) as watch:
        began = start_together(arena, watch)
        wait_for(lambda: applied(arena)[0] >= count, watch, f"to apply {count:,} updates")
        return applied(arena)[1] - began


def start_together(arena: PeerEnvironment, watch: Callable[[], None]) -> float:
    """Wait until all workers have their first job, and let them begin; the moment, monotonic."""
    wait_for(lambda: arena.clock.llen(READY) == PROCESSES, watch, "to get ready")
    began = time.monotonic()
    arena.clock.rpush(GO, *range(PROCESSES))
    return began


def wait_for(condition: Callable[[], bool], watch: Callable[[], None], label: str) -> None:
    """Wait for what workers are to do.

    Raises:
        SideFailed: one of them ended, or it took too long.
    """
    deadline = time.monotonic() + WORKING
    while not condition():
        watch()
        if time.monotonic() > deadline:
            raise SideFailed(f"its workers took more than {WORKING:.0f} s {label}")
        time.sleep(0.02)


def applied(arena: PeerEnvironment) -> tuple[int, float]:
    """How many updates workers have applied, and the monotonic time at which the last one was."""
    told: Any = arena.clock.hvals(DONE)
    reports = [report.split() for report in told]
    return sum(int(jobs) for jobs, _ in reports), max((float(at) for _, at in reports), default=0)


@contextmanager
def working(arena: PeerEnvironment, contender: Peer) -> Iterator[Callable[[], None]]:
    """The contender's workers while the block lasts; a call looks whether they are well.

    Raises:
        SideFailed: one of them ended, when asked.
    """
    file = arena.shop.folder / f"{contender.module}.log"
    with file.open("wb") as log:
        processes = [_start(arena, contender, each, log) for each in contender.workers]
        try:
            yield lambda: _expect_running(processes, file)
        finally:
            _stop(processes)


def purge(arena: PeerEnvironment) -> None:
    """Nothing is left of what a contender had in Redis, or in the database for queues."""
    arena.queue.flushdb()
    arena.clock.flushdb()
    owner = arena.shop.engine.url.username
    with arena.shop.admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {QUEUE_DATABASE} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {QUEUE_DATABASE} OWNER {owner}"))


def last_line(text: str) -> str:
    """What a program said last."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def _start(
    arena: PeerEnvironment,
    contender: Peer,
    arguments: Sequence[str],
    log: Any,  # noqa: ANN401 - whatever Popen takes
) -> WorkerProcess:
    return subprocess.Popen(  # noqa: S603 - ours
        [python_of(contender), *arguments],
        cwd=ROOT,
        env=arena.environment(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _expect_running(processes: Sequence[WorkerProcess], file: Path) -> None:
    if any(process.poll() is not None for process in processes):
        said = last_line(file.read_text(encoding="utf-8", errors="replace"))
        raise SideFailed(f"its worker ended: {said}")


def _stop(processes: Sequence[WorkerProcess]) -> None:
    """Ask them to end, then end whatever is left of their sessions."""
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    deadline = time.monotonic() + STOPPING
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
