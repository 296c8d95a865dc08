"""The peers that are compared with Orderworks in updates: releases, workers, and shares of the updates.

All have two worker processes for two cores, acknowledge after the task, and have one message per update
unless stated otherwise. Settings other than defaults are those that a peer's own documentation advises;
they are here or in its module under `bench/peers/`.
"""

from collections.abc import Sequence

import msgspec

Command = tuple[str, ...]
"""Arguments of Python that run workers."""

PSYCOPG2 = "psycopg2-binary==2.9.13"
ASYNCPG = "asyncpg==0.32.0"
REDIS = "redis[hiredis]==8.1.0"
UVLOOP = "uvloop==0.23.0"


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A job system, or the bare loop, that does the same job.

    Attributes:
        module: its file under `bench/peers/`.
        share: it applies one update for this number of Orderworks', by its speed.
        sends_share: it enqueues one update for this number of `update_many`'s.
        workers: the commands of its workers, which have `PROCESSES` processes together.
        pins: packages of its environment; without any it runs in the project's.
        tuning: its settings, for the notes.
        single: each update is a message of its own.
    """

    name: str
    module: str
    share: int = 1
    sends_share: int = 10
    workers: tuple[Command, ...] = ()
    tuning: str
    pins: tuple[str, ...] = ()
    single: bool = True


PROCESSES = 2


def twice(*command: str) -> tuple[Command, ...]:
    """Return the same command for each of the processes."""
    return (command,) * PROCESSES


def celery(module: str, *options: str) -> Command:
    """Return the command of a Celery worker."""
    return (
        "-m",
        "celery",
        "--app",
        f"bench.peers.{module}",
        "worker",
        "--loglevel=ERROR",
        *options,
    )


def solo(module: str) -> tuple[Command, ...]:
    """Return the commands of Celery workers without a pool and without events between workers."""
    options = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return tuple(
        celery(module, "--pool=solo", f"--hostname=solo{number}@%h", *options)
        for number in range(PROCESSES)
    )


BARE_LOOP = Peer(
    name="bare loop, no job system",
    module="floor",
    share=1,
    workers=tuple(("-m", "bench.peers.floor", "work", str(number)) for number in range(PROCESSES)),
    tuning="two processes, a stream each, XREADGROUP of 5,000, one UPDATE a batch",
    single=False,
)

OURS = Peer(
    name="Orderworks, update()",
    module="orderworks",
    sends_share=5,
    tuning="the workers of the stack: two children",
)
OURS_MANY = Peer(
    name="Orderworks, update_many()",
    module="orderworks_many",
    sends_share=1,
    tuning="the workers of the stack: two children",
)

CELERY = Peer(
    name="Celery",
    module="celery_default",
    share=40,
    sends_share=25,
    workers=(celery("celery_default", "--concurrency=2"),),
    tuning="defaults and acks_late; prefork, two children",
)

CELERY_TUNED = Peer(
    name="Celery, tuned",
    module="celery_tuned",
    share=30,
    sends_share=25,
    workers=solo("celery_tuned"),
    tuning="acks_late; two solo workers, prefetch 256, no results, gossip, mingle or heartbeat",
)

BATCHES = Peer(
    name="celery-batches",
    module="batches",
    share=10,
    sends_share=25,
    workers=solo("batches"),
    tuning="acks_late; two solo workers, flush_every 1,000, prefetch 2,000",
    pins=("celery-batches==0.11", "celery[redis]==5.6.3", "kombu==5.7.0", REDIS, PSYCOPG2),
    single=False,
)

DRAMATIQ = Peer(
    name="dramatiq",
    module="dramatiq",
    share=20,
    workers=(("-m", "dramatiq", "--processes=2", "--threads=8", "bench.peers.dramatiq:broker"),),
    tuning="two processes of eight threads",
    pins=("dramatiq[redis]==2.2.1", REDIS, PSYCOPG2),
)

PEERS: Sequence[Peer] = (
    CELERY,
    CELERY_TUNED,
    BATCHES,
    DRAMATIQ,
    Peer(
        name="taskiq",
        module="taskiq",
        share=20,
        sends_share=25,
        workers=(
            (
                *("-m", "taskiq", "worker", "--workers=2", "--max-threadpool-threads=8"),
                *("--log-level=ERROR", "bench.peers.taskiq:broker"),
            ),
        ),
        tuning="a Redis stream, two processes of eight threads",
        pins=("taskiq==0.13.0", "taskiq-redis==1.2.4", REDIS, UVLOOP, PSYCOPG2),
    ),
    Peer(
        name="arq",
        module="arq",
        share=40,
        workers=twice(
            "-m", "arq", "--custom-log-dict=bench.peers.arq.LOGS", "bench.peers.arq.Worker"
        ),
        tuning="two processes of 50 coroutines, a poll each 10 ms, no results",
        pins=("arq==0.28.0", "redis[hiredis]==5.3.1", ASYNCPG),
    ),
    Peer(
        name="RQ",
        module="rq",
        share=100,
        workers=twice("-m", "bench.peers.rq", "work"),
        tuning="two workers that run jobs themselves (SimpleWorker), no results",
        pins=("rq==3.0.0", REDIS, PSYCOPG2),
    ),
    Peer(
        name="SAQ",
        module="saq",
        share=40,
        workers=twice("-m", "saq", "bench.peers.saq.settings"),
        tuning="two processes of 50 coroutines, no results",
        pins=(
            "saq[redis,hiredis]==0.26.4",
            "redis[hiredis]==7.4.1",
            "typing-extensions==4.16.0",
            ASYNCPG,
        ),
    ),
    Peer(
        name="streaQ",
        module="streaq",
        share=50,
        sends_share=100,
        workers=(("-m", "streaq", "run", "bench.peers.streaq:worker", "--workers=2"),),
        tuning="two processes of 50 coroutines, no results",
        pins=("streaq==7.2.0", "coredis==6.9.0", REDIS, ASYNCPG),
    ),
    Peer(
        name="Procrastinate",
        module="procrastinate",
        share=80,
        sends_share=50,
        workers=twice(
            *(
                "-m",
                "procrastinate",
                "--log-level=error",
                "--app=bench.peers.procrastinate.app",
                "worker",
            ),
            *("--concurrency=20", "--delete-jobs=successful"),
        ),
        tuning="a queue in PostgreSQL, two processes of 20 coroutines, finished jobs deleted",
        pins=("procrastinate==3.10.0", "psycopg[binary]==3.3.9", REDIS, ASYNCPG),
    ),
)
