"""One reading of the counts, the waiting work and its age.

`orderworks status`, the metrics and the gateway's overview show them, and ask for none themselves.
Ages are by the clock of the server that stamped the work: Redis gives stream entries their ids,
PostgreSQL gives rows their times. So hosts whose clocks differ show the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orderworks.cache import cache_counts, hit_rate
from orderworks.core.lock_holders import LockHolder, blocking_sessions
from orderworks.core.redis import Redis
from orderworks.core.schema import (
    change_log,
    dead_updates,
    import_chunks,
    imports,
    parked_updates,
    update_outbox,
    update_shards,
)
from orderworks.imports.ledger import count_by_status
from orderworks.reports import reconcile_runs
from orderworks.reports.reconcile_runs import ReconcileRun
from orderworks.reports.top_customers import published_report
from orderworks.reports.windows import Window
from orderworks.updates import parking
from orderworks.updates.counters import FINAL_VERDICTS, read_totals
from orderworks.updates.dead_letters import count_unreplayed
from orderworks.updates.stream import Backlog, UpdateStream
from worker.beat.entries import BeatEntry, read_entries

MAX_CLOCK_SKEW = 5.0
"""Seconds that the clocks of two hosts may differ; beyond, ages and redeliveries mislead."""

VERDICTS = tuple(each.value for each in FINAL_VERDICTS)
OUTCOMES = ("applied", "unchanged", "stale", "superseded", "rejected")


class DatabaseSnapshot(NamedTuple):
    """Counts in PostgreSQL that are cheap enough to read once a second.

    Attributes:
        at: PostgreSQL's clock, in seconds since 1970.
        totals: updates by verdict, accepted, parked and in the outbox.
        imports: number of imports by status.
        unreplayed: number of dead letters that were not replayed.
        blocking: sessions of others for whose locks ours wait, or would wait.
        locked: number of parked updates that wait for a lock.
    """

    at: float
    totals: Mapping[str, int]
    imports: Mapping[str, int]
    unreplayed: int
    blocking: Sequence[LockHolder]
    locked: int


class DatabaseDetails(NamedTuple):
    """Counts in PostgreSQL that only the metrics show. Ages are in seconds, 0 if nothing is old.

    Attributes:
        shards: updates by verdict, and accepted, of each shard that has any.
        parked_overdue: since when the next attempt of a parked update is due.
        outbox_lag: age of the oldest update in the outbox.
        replayed: number of dead letters that were replayed.
        oldest_import: age of the oldest running import.
        chunks: number of chunks by status.
        rows: rows of imports by outcome.
        change_log: entries of the change log that no refresh has folded.
        last_check: the newest finished comparison of the rollups with the orders.
    """

    shards: Mapping[int, Mapping[str, int]]
    parked_overdue: float
    outbox_lag: float
    replayed: int
    oldest_import: float
    chunks: Mapping[str, int]
    rows: Mapping[str, int]
    change_log: int
    last_check: ReconcileRun | None


class CacheSnapshot(NamedTuple):
    """Cached reads by how they were answered, and the times of the published reports.

    Attributes:
        hit_rate: share of the reads that needed no query; None before the first read.
        as_of: of each window that has a published report, the time up to which it counts commits.
    """

    reads: Mapping[str, int]
    hit_rate: float | None
    as_of: Mapping[Window, datetime]


@dataclass(frozen=True)
class Snapshot:
    """A reading of all servers. `result()` of each field raises the error that prevented its reading."""

    database: Future[DatabaseSnapshot]
    beat: Future[Sequence[BeatEntry]]
    backlog: Future[Backlog]
    cache: Future[CacheSnapshot]


def read_snapshot(engine: sa.Engine, updates: UpdateStream, cache: Redis) -> Snapshot:
    """Read all servers at the same time, so that one that is unavailable delays no other.

    The entries of beat are read on their own: they are shown also where a count cannot be read.
    """
    with ThreadPoolExecutor(4) as pool:
        return Snapshot(
            pool.submit(_database_of, engine),
            pool.submit(_beat_of, engine),
            pool.submit(updates.backlog),
            pool.submit(read_cache, cache),
        )


def _database_of(engine: sa.Engine) -> DatabaseSnapshot:
    with consistent(engine) as connection:
        return read_database(connection)


def _beat_of(engine: sa.Engine) -> list[BeatEntry]:
    with engine.connect() as connection:
        return read_entries(connection)


@contextmanager
def consistent(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose queries all see the same state, so that the counts add up."""
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ")


def read_database(connection: sa.Connection) -> DatabaseSnapshot:
    """The counts in PostgreSQL that every view shows."""
    at = connection.execute(sa.select(sa.extract("epoch", sa.func.now()))).scalar_one()
    return DatabaseSnapshot(
        at=float(at),
        totals=read_totals(connection),
        imports=count_by_status(connection),
        unreplayed=count_unreplayed(connection),
        blocking=blocking_sessions(connection),
        locked=parking.count_locked(connection),
    )


def read_details(connection: sa.Connection) -> DatabaseDetails:
    """The other counts in PostgreSQL. They read all chunks of all imports in the ledger."""
    running = imports.c.status == "running"
    is_replayed = dead_updates.c.replayed_at.is_not(None)
    chunks, rows = _chunks(connection)
    return DatabaseDetails(
        shards=_shards(connection),
        parked_overdue=_age(connection, parked_updates.c.next_attempt_at),
        outbox_lag=_age(connection, update_outbox.c.enqueued_at),
        replayed=connection.scalar(sa.select(sa.func.count()).where(is_replayed)) or 0,
        oldest_import=_age(connection, imports.c.accepted_at, running),
        chunks=chunks,
        rows=rows,
        change_log=int(connection.scalar(sa.select(sa.func.sum(change_log.c.entries))) or 0),
        last_check=reconcile_runs.last_finished_run(connection),
    )


def _shards(connection: sa.Connection) -> dict[int, dict[str, int]]:
    counters = connection.execute(sa.select(*update_shards.c["shard", "accepted", *VERDICTS]))
    return {
        shard: dict(zip(("accepted", *VERDICTS), counts, strict=True))
        for shard, *counts in counters
    }


def _chunks(connection: sa.Connection) -> tuple[dict[str, int], dict[str, int]]:
    """Chunks by status, and their rows by outcome."""
    status = import_chunks.c.status
    sums = [sa.func.sum(import_chunks.c[outcome]) for outcome in OUTCOMES]
    query = sa.select(status, sa.func.count(), *sums).group_by(status)
    by_status = connection.execute(query).all()
    rows = {name: sum(int(row[n]) for row in by_status) for n, name in enumerate(OUTCOMES, 2)}
    return {row[0]: row[1] for row in by_status}, rows


def _age(
    connection: sa.Connection, moment: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]
) -> float:
    """Seconds since the earliest of these times; 0 if that is in the future, or there are no rows."""
    seconds = sa.extract("epoch", sa.func.now() - sa.func.min(moment))
    age = sa.cast(sa.func.greatest(seconds, 0), sa.Float)
    return float(connection.execute(sa.select(age).where(*conditions)).scalar_one())


def delayed_fsyncs(client: Redis) -> int | None:
    """The number of fsyncs of the append-only file that were late, since the server started.

    None for a server without such a file.
    """
    persistence: Mapping[str, int] = client.info("persistence")
    return persistence.get("aof_delayed_fsync")


def read_cache(client: Redis, windows: Sequence[Window] = (Window.ALL,)) -> CacheSnapshot:
    """The counts of cached reads, and the times of the reports of these windows."""
    counts = cache_counts(client)
    reports = {window: published_report(client, window, limit=1) for window in windows}
    return CacheSnapshot(
        reads=counts,
        hit_rate=hit_rate(counts),
        as_of={window: report.as_of for window, report in reports.items() if report},
    )
