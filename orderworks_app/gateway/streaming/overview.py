"""The overview that the page shows, once a second. One poll serves all clients that follow it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.imports.ledger import list_active
from orderworks.imports.progress import Summary
from orderworks.reports.windows import Window
from orderworks.updates.stream import UpdateStream
from orderworks_app.gateway.backends.threads import BlockingServices
from orderworks_app.gateway.streaming.polling import BackgroundPoll
from orderworks_app.gateway.streaming.sse import encode_event
from orderworks_app.observability.snapshot import consistent, read_cache, read_database
from worker.beat.entries import BeatEntry, read_entries

INTERVAL = 1.0
"""Seconds from one event to the next."""

READ_TIMEOUT = 1.0
"""Seconds that a server has to answer; after them the event is sent without its figures."""

MAX_IMPORTS = 20


class Updates(msgspec.Struct, frozen=True):
    """Updates: those that workers settled per second since the event before, and the totals.

    accepted = applied + superseded + stale + duplicate + dead + parked; `outbox` is not included.
    `per_second` is null if the poll before had no figures.
    """

    per_second: float | None
    accepted: int
    applied: int
    superseded: int
    stale: int
    duplicate: int
    dead: int
    parked: int
    outbox: int


class Waiting(msgspec.Struct, frozen=True):
    """Accepted updates that wait in the streams, and how long the oldest has waited, in seconds."""

    waiting: int
    lag_seconds: float


class ImportsNow(msgspec.Struct, frozen=True):
    """The number of imports by status, and those that are running or paused."""

    counts: dict[str, int]
    running: list[Summary]


class Reads(msgspec.Struct, frozen=True):
    """Cached reads by their result; `hit_rate` is the share that needed no query."""

    hit: int
    stale: int
    miss: int
    error: int
    refused: int
    hit_rate: float | None


class Beat(msgspec.Struct, frozen=True):
    """An entry of beat; durations are in seconds. `error` is its last failure, until it succeeds."""

    entry: str
    task: str
    every: float
    paused: bool
    overdue: bool
    succeeded_at: datetime | None
    error: str | None
    due_in: float | None


class Dead(msgspec.Struct, frozen=True):
    """Dead letters that were not replayed."""

    not_replayed: int


class Freshness(msgspec.Struct, frozen=True):
    """The age of the published report of all time."""

    as_of: datetime
    age_seconds: float


class Overview(msgspec.Struct, frozen=True, rename={"unavailable": "away"}):
    """The state of the whole. Figures of an unavailable server are null; `away` lists such servers."""

    at: datetime
    unavailable: list[str]
    updates: Updates | None
    stream: Waiting | None
    imports: ImportsNow | None
    cache: Reads | None
    beat: list[Beat] | None
    dead: Dead | None
    report: Freshness | None


class DatabaseFigures(NamedTuple):
    """The figures that PostgreSQL has; `at` is its clock, in seconds."""

    at: float
    totals: Mapping[str, int]
    imports: ImportsNow
    beat: list[Beat]
    dead: Dead


class CacheFigures(NamedTuple):
    """The figures that the cache's Redis has."""

    reads: Reads
    report: Freshness | None


async def overview_events(blocking: BlockingServices) -> AsyncIterator[bytes]:
    """Yield events `overview` without end."""
    database = BackgroundPoll(lambda: _database_figures(blocking.engine), READ_TIMEOUT)
    stream = BackgroundPoll(lambda: _waiting(blocking.updates), READ_TIMEOUT)
    cache = BackgroundPoll(lambda: _cache_figures(blocking.published), READ_TIMEOUT)
    before: DatabaseFigures | None = None
    for number in count(1):
        started = time.monotonic()
        now, waiting, cached = await asyncio.gather(database(), stream(), cache())
        yield encode_event("overview", number, _overview(before, now, waiting, cached))
        # After a poll that failed, the rate is that since the last one that did not.
        before = now or before
        await asyncio.sleep(started + INTERVAL - time.monotonic())


def _overview(
    before: DatabaseFigures | None,
    now: DatabaseFigures | None,
    waiting: Waiting | None,
    cached: CacheFigures | None,
) -> Overview:
    servers = {"postgresql": now, "stream": waiting, "cache": cached}
    return Overview(
        at=datetime.now(UTC),
        unavailable=[name for name, figures in servers.items() if figures is None],
        updates=now and Updates(_updates_per_second(before, now), **now.totals),
        stream=waiting,
        imports=now and now.imports,
        cache=cached and cached.reads,
        beat=now and now.beat,
        dead=now and now.dead,
        report=cached and cached.report,
    )


def _updates_per_second(before: DatabaseFigures | None, now: DatabaseFigures) -> float | None:
    """Return the updates per second that were settled between two polls."""
    if before is None or now.at <= before.at:
        return None
    settled = now.totals["accepted"] - before.totals["accepted"]
    return round(settled / (now.at - before.at), 1)


def _database_figures(engine: sa.Engine) -> DatabaseFigures:
    with consistent(engine) as connection:
        database = read_database(connection)
        entries = read_entries(connection)
        active = list_active(connection, MAX_IMPORTS)
    return DatabaseFigures(
        at=database.at,
        totals=database.totals,
        imports=ImportsNow({**database.imports}, active),
        beat=[_beat(each) for each in entries],
        dead=Dead(database.unreplayed),
    )


def _beat(entry: BeatEntry) -> Beat:
    return Beat(
        entry=entry.entry,
        task=entry.task,
        every=entry.every,
        paused=entry.paused,
        overdue=entry.is_overdue,
        succeeded_at=entry.succeeded_at,
        error=entry.error if entry.has_failed else None,
        due_in=entry.due_in,
    )


def _waiting(updates: UpdateStream) -> Waiting:
    backlog = updates.backlog()
    return Waiting(backlog.waiting, round(backlog.lag, 3))


def _cache_figures(client: Redis) -> CacheFigures:
    cache = read_cache(client)
    as_of = cache.as_of.get(Window.ALL)
    reads = Reads(hit_rate=cache.hit_rate, **cache.reads)
    return CacheFigures(reads, _freshness(as_of) if as_of else None)


def _freshness(as_of: datetime) -> Freshness:
    return Freshness(as_of, round((datetime.now(UTC) - as_of).total_seconds(), 1))
