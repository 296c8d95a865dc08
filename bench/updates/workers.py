"""Sender and worker processes of peers: started, released together, timed, ended."""

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
from bench.stack import BenchStack
from orderworks.core.redis import Redis, make_redis

QUEUE_NUMBER, CLOCK_NUMBER = 2, 3
"""Numbers of the databases of the stack's Valkey that the stack itself does not use."""

QUEUE_DATABASE = "bench_queue"
"""The database of a peer whose queue is in PostgreSQL."""

WORKING, STOPPING = 240.0, 10.0
"""Seconds that workers may take to apply all updates, and to end."""

WorkerProcess = subprocess.Popen[bytes]


class Sent(msgspec.Struct):
    """A sender's printed result: the sent updates, and the seconds without start and connection."""

    sent: int
    seconds: float


class PeerEnvironment(NamedTuple):
    """The stack, and clients of the databases of the peers' queues and clocks."""

    stack: BenchStack
    queue: Redis
    clock: Redis

    def variables(self) -> dict[str, str]:
        """Return the variables of a peer's processes, without those of the user.

        CELERY_BROKER_URL or BROKER_URL would replace the broker that a peer of Celery configures.
        """
        settings = self.stack.settings
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.stack.folder),
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": settings.database,
            "CACHE_REDIS_URL": settings.cache,
            "ORDERS_STREAM_URL": settings.stream,
            "ORDERS_BROKER_URL": settings.broker,
            "QUEUE_URL": numbered(settings.broker, QUEUE_NUMBER),
            "QUEUE_DATABASE_URL": queue_database(settings.database),
            "CLOCK_URL": numbered(settings.broker, CLOCK_NUMBER),
        }


def open_peer_environment(stack: BenchStack) -> PeerEnvironment:
    """Return the environment of peers on a stack."""
    addresses = (numbered(stack.settings.broker, each) for each in (QUEUE_NUMBER, CLOCK_NUMBER))
    queue, clock = (make_redis(address, 5) for address in addresses)
    return PeerEnvironment(stack, queue, clock)


def numbered(url: str, number: int) -> str:
    """Return the address of another database of the same Valkey server."""
    return f"{url.rpartition('/')[0]}/{number}"


def queue_database(database: str) -> str:
    """Return the address of the database for queues on the same PostgreSQL server."""
    return f"{database.rpartition('/')[0]}/{QUEUE_DATABASE}"


def send(environment: PeerEnvironment, peer: Peer, *arguments: str) -> Sent:
    """Run the peer's sender until it ends; return its result.

    Raises:
        SideFailed: it failed; the message has its last line of output.
    """
    command = [python_of(peer), "-m", f"bench.peers.{peer.module}", *arguments]
    done = subprocess.run(  # noqa: S603 - a program of the benchmarks
        command, cwd=ROOT, env=environment.variables(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SideFailed(f"its sender failed: {last_line(done.stderr)}")
    return msgspec.json.decode(done.stdout, type=Sent)


def apply_all(environment: PeerEnvironment, peer: Peer, count: int) -> float:
    """Return the seconds from when all workers are ready until `count` queued updates are applied."""
    with working(environment, peer) as watch:
        started = start_together(environment, watch)
        wait_for(lambda: applied(environment)[0] >= count, watch, f"to apply {count:,} updates")
        return applied(environment)[1] - started


def start_together(environment: PeerEnvironment, watch: Callable[[], None]) -> float:
    """Wait until all workers have their first job, and release them; return the monotonic time."""
    wait_for(lambda: environment.clock.llen(READY) == PROCESSES, watch, "to get ready")
    started = time.monotonic()
    environment.clock.rpush(GO, *range(PROCESSES))
    return started


def wait_for(condition: Callable[[], bool], watch: Callable[[], None], label: str) -> None:
    """Wait until the condition is true; `watch` checks the workers meanwhile.

    Raises:
        SideFailed: a worker ended, or it took longer than `WORKING`.
    """
    deadline = time.monotonic() + WORKING
    while not condition():
        watch()
        if time.monotonic() > deadline:
            raise SideFailed(f"its workers took more than {WORKING:.0f} s {label}")
        time.sleep(0.02)


def applied(environment: PeerEnvironment) -> tuple[int, float]:
    """Return the number of applied updates, and the monotonic time of the last one."""
    published: Any = environment.clock.hvals(DONE)
    reports = [report.split() for report in published]
    return sum(int(jobs) for jobs, _ in reports), max((float(at) for _, at in reports), default=0)


@contextmanager
def working(environment: PeerEnvironment, peer: Peer) -> Iterator[Callable[[], None]]:
    """Run the peer's workers during the block; yield a function that checks that they run.

    The function raises SideFailed if one of them has ended.
    """
    file = environment.stack.folder / f"{peer.module}.log"
    with file.open("wb") as log:
        processes = [_start(environment, peer, each, log) for each in peer.workers]
        try:
            yield lambda: _expect_running(processes, file)
        finally:
            _stop(processes)


def purge(environment: PeerEnvironment) -> None:
    """Delete what peers left in Redis and in the database for queues."""
    environment.queue.flushdb()
    environment.clock.flushdb()
    owner = environment.stack.engine.url.username
    with environment.stack.admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {QUEUE_DATABASE} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {QUEUE_DATABASE} OWNER {owner}"))


def last_line(text: str) -> str:
    """Return the last line of a program's output that is not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it had no output"


def _start(
    environment: PeerEnvironment,
    peer: Peer,
    arguments: Sequence[str],
    log: Any,  # noqa: ANN401 - any file that Popen takes
) -> WorkerProcess:
    return subprocess.Popen(  # noqa: S603 - a program of the benchmarks
        [python_of(peer), *arguments],
        cwd=ROOT,
        env=environment.variables(),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _expect_running(processes: Sequence[WorkerProcess], file: Path) -> None:
    if any(process.poll() is not None for process in processes):
        output = last_line(file.read_text(encoding="utf-8", errors="replace"))
        raise SideFailed(f"its worker ended: {output}")


def _stop(processes: Sequence[WorkerProcess]) -> None:
    """Terminate the processes, then kill the remaining ones of their sessions."""
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
