"""The health of every part, and the work that waits. `orderworks status` shows it."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.request import urlopen

import msgspec
import redis
import sqlalchemy as sa

from migrations import runner
from orderworks.cache import invalidation as delays
from orderworks.core.database import database_unavailable, make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.lock_holders import LockHolder
from orderworks.core.redis import (
    Redis,
    check_single_server,
    make_redis,
    redis_unavailable,
)
from orderworks.core.routing import Queue, TaskName
from orderworks.core.settings import Settings
from orderworks.reports import excluded_statuses, reconcile_runs
from orderworks.reports.excluded_statuses import format_statuses
from orderworks.reports.reconcile_runs import ReconcileRun
from orderworks.reports.windows import Window
from orderworks.updates.stream import UpdateStream
from orderworks_app.observability import worker_clocks
from orderworks_app.observability.snapshot import MAX_CLOCK_SKEW, Snapshot, read_snapshot
from orderworks_app.observability.write_refusals import postgresql_refusal, redis_refusal
from orderworks_app.operations.timespans import format_span
from worker.beat.entries import BeatEntry
from worker.celery import app

NOTHING_BLOCKS = "no other session blocks ours"

Name = TypeVar("Name", bound=str)

WORKER_TIMEOUT = 1.0
"""Seconds that workers have to answer a ping."""

MAX_CHECK_AGE = 2.5 * 86_400
"""Age in seconds at which the newest check of the rollups is unhealthy: beat asks once a day."""


class Part(msgspec.Struct, frozen=True):
    """One part: its name, whether it is healthy, and a detail."""

    name: str
    healthy: bool
    detail: str


class Status(msgspec.Struct, frozen=True):
    """The health of all parts, and the counts of work.

    Attributes:
        updates: waiting entries, lag in seconds, the sums of verdicts, and the parked updates:
            accepted = applied + superseded + stale + duplicate + dead + parked. Updates in the
            outbox are not counted in these.
        imports: number of imports by status.
        cache: cached reads by result, refused stores, and the share of reads that needed no query.
        invalidation: seconds from a change to the invalidation of cached reads, of the last changes:
            by workers after their commits, and by the fold of the change log after all others.
    """

    healthy: bool
    parts: list[Part]
    updates: dict[str, float]
    imports: dict[str, int]
    cache: dict[str, float]
    invalidation: dict[delays.Path, delays.Delays]


class StatusReader:
    """Reads the health of all parts. An unavailable part never hides the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = make_engine(settings, "orderworks-status")
        self._redis = make_redis(settings.stream, settings.redis_timeout)
        self._cache = make_redis(settings.cache, settings.redis_timeout)
        self._stream = UpdateStream(self._redis, settings.update_shards, settings.stream_limit)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        self._redis.close()
        self._cache.close()

    def status(self) -> Status:
        """Read the servers and the workers now."""
        snapshot = read_snapshot(self._engine, self._stream, self._cache)
        queues, clocks = self._ask_workers()
        parts = [
            self._check("postgresql", self._database),
            self._check("schema", self._schema),
            self._check("stream", lambda: _ping(self._redis)),
            self._check("cache", lambda: _ping(self._cache)),
            *queues,
            *clocks,
            *self._beat(snapshot),
            self._check("locks", lambda: _locks(snapshot)),
            self._check("report", lambda: self._report(snapshot)),
            self._check("rollups", self._rollups),
        ]
        if self._settings.flower_url:
            parts.append(self._check("flower", self._flower))
        if self._settings.gateway_url:
            parts.append(self._check("gateway", self._gateway))
        return Status(
            healthy=all(part.healthy for part in parts),
            parts=parts,
            updates=_or_empty(lambda: _updates(snapshot)),
            imports=_or_empty(lambda: {**snapshot.database.result().imports}),
            cache=_or_empty(lambda: _cached_reads(snapshot)),
            invalidation=_or_empty(lambda: delays.read_delays(self._cache)),
        )

    def _check(self, name: str, check: Callable[[], str]) -> Part:
        try:
            return Part(name, healthy=True, detail=check())
        except sa.exc.DBAPIError as error:
            return Part(
                name,
                healthy=False,
                detail=str(database_unavailable(error, self._settings.database)),
            )
        except redis.RedisError as error:
            return Part(name, healthy=False, detail=str(redis_unavailable(error)))
        except (OrderworksError, OSError) as error:
            return Part(name, healthy=False, detail=str(error))

    def _database(self) -> str:
        with self._engine.connect() as connection:
            version = connection.scalar(sa.text("SHOW server_version"))
        _require_writes(postgresql_refusal(self._engine))
        return f"answers, version {version}"

    def _schema(self) -> str:
        with self._engine.connect() as connection:
            at = runner.current(connection)
        if at != runner.head():
            raise OrderworksError(
                f"at {at}, the code needs {runner.head()}: run `orderworks db upgrade`"
            )
        return f"at {at}"

    def _ask_workers(self) -> tuple[list[Part], list[Part]]:
        """Return the parts that workers are asked for: their queues and their clocks."""
        with ThreadPoolExecutor(1) as pool:  # At the same time, because each waits for replies.
            clocks = pool.submit(self._clocks)
            return [*self._queues()], clocks.result()

    def _clocks(self) -> list[Part]:
        """Return the health of the workers' clocks; nothing without workers: the queues show that."""
        try:
            skews = worker_clocks.read_skews(self._redis)
        except Exception:  # noqa: BLE001 - kombu raises any error of its transport
            return []
        if not skews:
            return []
        detail = f"compared with Redis: {worker_clocks.describe(skews)}"
        return [Part("clocks of workers", worker_clocks.agree(skews), detail)]

    def _queues(self) -> Iterable[Part]:
        """The health of each queue: healthy if a worker consumes it."""
        try:
            consumed = app.control.inspect(timeout=WORKER_TIMEOUT).active_queues() or {}
        except Exception as error:  # noqa: BLE001 - kombu raises any error of its transport
            consumed, problem = {}, str(error)
        else:
            problem = "no worker answers"
        workers: dict[str, list[str]] = {queue.value: [] for queue in Queue}
        for worker, queues in consumed.items():
            for queue in queues:
                workers.setdefault(queue["name"], []).append(worker)
        for name, consumers in workers.items():
            yield Part(f"queue {name}", bool(consumers), ", ".join(sorted(consumers)) or problem)

    def _beat(self, snapshot: Snapshot) -> Iterable[Part]:
        """The health of each entry of beat, which needs beat, its queue's worker and its servers."""
        try:
            entries = snapshot.beat.result()
        except sa.exc.DBAPIError as error:
            unavailable = str(database_unavailable(error, self._settings.database))
            return [Part("beat", healthy=False, detail=unavailable)]
        if not entries:
            missing = "it has no entries: start `celery -A worker beat`"
            return [Part("beat", healthy=False, detail=missing)]
        return [
            Part(f"beat {each.entry}", not each.is_overdue, _entry_detail(each)) for each in entries
        ]

    def _report(self, snapshot: Snapshot) -> str:
        """A report is stale when two refreshes in a row did not publish it."""
        as_of = snapshot.cache.result().as_of.get(Window.ALL)
        if as_of is None:
            raise OrderworksError(
                "none is published yet: the first refresh runs within "
                f"{self._settings.report_interval:.0f} s of beat's start"
            )
        age = (datetime.now(UTC) - as_of).total_seconds()
        if age < -MAX_CLOCK_SKEW:
            raise OrderworksError(
                f"as of {format_span(-age)} from now: the clocks of PostgreSQL and of this host differ"
            )
        if age > 30 + 2 * self._refresh_period(snapshot):
            raise OrderworksError(f"as of {age:.0f} s ago")
        return f"as of {age:.0f} s ago"

    def _refresh_period(self, snapshot: Snapshot) -> float:
        """Seconds between two refreshes by beat's entry; as configured without PostgreSQL."""
        try:
            entries = snapshot.beat.result()
        except sa.exc.DBAPIError:
            entries = []
        of_refresh = (each.every for each in entries if each.task == TaskName.REFRESH_TOP_CUSTOMERS)
        return next(of_refresh, self._settings.report_interval)

    def _rollups(self) -> str:
        """Check that the rollups exclude the configured statuses and were compared recently."""
        with self._engine.connect() as connection:
            in_force = excluded_statuses.read_excluded(connection)
            unfinished = reconcile_runs.unfinished_change(connection)
            last = reconcile_runs.last_finished_run(connection)
        configured = self._settings.uncounted_statuses
        if in_force != configured:
            raise OrderworksError(
                f"reports exclude {format_statuses(in_force)}; UNCOUNTED_STATUSES is "
                f"{format_statuses(configured)}: run `orderworks rebuild`"
            )
        if unfinished:
            raise OrderworksError(
                f"a recount for {format_statuses(sorted(unfinished))} was not finished: if no "
                "`orderworks rebuild` is running, run it"
            )
        return _check_detail(last)

    def _flower(self) -> str:
        url = f"{self._settings.flower_url}/healthcheck"
        with urlopen(url, timeout=3) as answer:  # noqa: S310 - the operator's own address
            answer.read()
        return f"answers at {self._settings.flower_url}"

    def _gateway(self) -> str:
        url = f"{self._settings.gateway_url}/readyz"
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - the operator's own address
            answer.read()
        return f"answers at {self._settings.gateway_url}"


def _locks(snapshot: Snapshot) -> str:
    """The sessions of others for whose locks updates and imports wait.

    Raises:
        OrderworksError: there are some.
    """
    database = snapshot.database.result()
    waiting = f"{database.locked:,} updates are set aside"
    if database.blocking:
        raise OrderworksError(f"{describe_blocking(database.blocking)}; {waiting}")
    return f"no other session blocks ours; {waiting}" if database.locked else NOTHING_BLOCKS


def describe_blocking(sessions: Sequence[LockHolder]) -> str:
    """Name the sessions and the tables of which they hold locks."""
    return "; ".join(
        f"{each} holds locks on {', '.join(each.tables) or 'nothing of ours'} "
        f"for {format_span(each.seconds)}"
        for each in sessions
    )


def _updates(snapshot: Snapshot) -> dict[str, float]:
    backlog = snapshot.backlog.result()
    waiting = {"waiting": backlog.waiting, "lag_seconds": round(backlog.lag, 3)}
    return {**waiting, **snapshot.database.result().totals}


def _cached_reads(snapshot: Snapshot) -> dict[str, float]:
    cache = snapshot.cache.result()
    return {**cache.reads, "hit_rate": cache.hit_rate or 0.0}


def _entry_detail(entry: BeatEntry) -> str:
    last = "no success yet"
    if entry.succeeded_at:
        age = (datetime.now(UTC) - entry.succeeded_at).total_seconds()
        last = f"last success {format_span(age)} ago"
    pace = "paused" if entry.paused else f"every {format_span(entry.every)}"
    return f"{last}, {pace}" + (f", failed since: {entry.error}" if entry.has_failed else "")


def _check_detail(last: ReconcileRun | None) -> str:
    """The result of the newest check.

    Raises:
        OrderworksError: it is older than two daily checks that did not run.
    """
    if last is None:
        return "not compared with the orders yet; beat starts that once a day"
    age = (datetime.now(UTC) - last.finished_at).total_seconds()
    if age > MAX_CHECK_AGE:
        raise OrderworksError(
            f"compared with the orders {format_span(age)} ago; beat starts that once a day"
        )
    drift = last.counted.total_differences
    result = f"{drift:,} rows had drifted and were corrected" if drift else "no drift"
    return f"compared with the orders {format_span(age)} ago, {result}"


def _ping(client: Redis) -> str:
    check_single_server(client)
    server = client.info("server")
    _require_writes(redis_refusal(client))
    # Valkey reports the version of Redis that it is compatible with as well as its own.
    return f"answers, version {server.get('valkey_version', server['redis_version'])}"


def _require_writes(refusal: str | None) -> None:
    if refusal:
        raise OrderworksError(f"refuses writes: {refusal}")


def _or_empty(read: Callable[[], dict[Name, Any]]) -> dict[Name, Any]:
    try:
        return read()
    except (sa.exc.DBAPIError, redis.RedisError):
        return {}
