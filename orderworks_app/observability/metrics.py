"""Metrics in Prometheus' format, read from PostgreSQL, the streams, the cache and the broker.

No process counts them, so they stay correct through restarts and with any number of workers. Cached
reads are the exception: processes count them, and add the counts in the cache's server each second.
Needs `prometheus_client`, which the extra `worker` installs.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Self

import redis
import sqlalchemy as sa
from kombu import Connection
from kombu.exceptions import OperationalError
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orderworks.cache import READS, invalidation
from orderworks.core.database import error_summary, make_engine
from orderworks.core.redis import Redis, is_redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.settings import Settings
from orderworks.reports.reconcile_runs import ReconcileRun
from orderworks.reports.windows import Window
from orderworks.updates.stream import UpdateStream
from orderworks_app.observability.snapshot import (
    VERDICTS,
    DatabaseDetails,
    DatabaseSnapshot,
    consistent,
    delayed_fsyncs,
    read_cache,
    read_database,
    read_details,
)
from orderworks_app.operations.import_choices import ImportStatus
from worker.beat.entries import BeatEntry, read_entries
from worker.queue_length import queue_length

log = logging.getLogger(__name__)

DATABASE_SECONDS = 5
"""Seconds for each query to PostgreSQL. The usual timeout of a scrape is ten."""

BROKER_SECONDS = 3
"""Seconds to connect to a broker that is no Redis."""

CHUNK_STATUSES = ("pending", "done", "quarantined")

DOCUMENTED = {
    "orderworks_up": "1 if the server answered; if 0, the metrics read from it are missing.",
    "orderworks_updates_accepted_total": "Updates that drains have read from the stream.",
    "orderworks_updates_total": "Updates by their final verdict. Accepted = these + parked.",
    "orderworks_parked_updates": "Updates that wait for their order or customer, for a lock, or to be "
    "tried again.",
    "orderworks_locked_updates": "Parked updates that wait for a lock of another session.",
    "orderworks_blocking_sessions": "Sessions of other applications for whose locks updates or imports "
    "wait, or that hold locks of our tables and are idle within a transaction.",
    "orderworks_blocking_seconds": "Age of the oldest of their transactions; 0 without any.",
    "orderworks_parked_overdue_seconds": "Seconds that the next attempt of a parked update is overdue.",
    "orderworks_dead_updates": "Dead updates by whether they were replayed.",
    "orderworks_outbox_updates": "Updates in the outbox that are not applied yet.",
    "orderworks_outbox_lag_seconds": "Age of the oldest update in the outbox; 0 without any.",
    "orderworks_stream_entries": "Accepted updates that wait in the stream of the shard.",
    "orderworks_stream_lag_seconds": "Age of the oldest waiting update of the shard; 0 without any.",
    "orderworks_stream_limit_entries": "Entries of a shard at which producers get Backpressure.",
    "orderworks_imports": "Imports in the ledger by status.",
    "orderworks_import_chunks": "Chunks of the imports in the ledger by status.",
    "orderworks_import_rows": "Rows of the imports in the ledger by outcome.",
    "orderworks_import_oldest_seconds": "Age of the oldest running import; 0 without any.",
    "orderworks_change_log_rows": "Entries of the change log not folded by a refresh; two per update.",
    "orderworks_cache_reads_total": "Cached reads by how they were answered.",
    "orderworks_invalidation_seconds": "Seconds from a change to the invalidation of cached reads, "
    "of the last changes: by workers after their commits, by the change log after all others.",
    "orderworks_cache_refused_stores_total": "Computed values that were not stored.",
    "orderworks_rollup_drift_rows": "Rows of the rollups that the last check found wrong and corrected.",
    "orderworks_last_rollup_check_timestamp_seconds": "Time of the end of the last check of rollups.",
    "orderworks_report_as_of_timestamp_seconds": "Time up to which commits are in the report.",
    "orderworks_beat_last_success_timestamp_seconds": "Time of the last success of the entry of "
    "beat; or since when it is due in its present period, if that is later.",
    "orderworks_beat_period_seconds": "Seconds between its runs; missing for a paused entry.",
    "orderworks_queue_messages": "Messages in the broker that no worker has received.",
    "orderworks_redis_memory_bytes": "Memory that the server uses for its data.",
    "orderworks_redis_memory_limit_bytes": "Memory that the server may use; 0 without a limit.",
    "orderworks_redis_late_fsyncs_total": "Fsyncs of the append-only file that the disk delayed.",
}
"""Every metric with its help, in the order of the output. Counters end in `_total`."""


class MetricSample(NamedTuple):
    """One value. All samples of a metric have the same label names."""

    metric: str
    value: float
    labels: dict[str, str]


class Metrics(Collector):
    """A collector that reads all metrics at each collection. Threads may share it.

    The servers are read at the same time, so one that is unavailable delays the others' metrics by its
    own timeout only: `DB_CONNECT_TIMEOUT` or `REDIS_TIMEOUT`.
    """

    def __init__(
        self,
        engine: sa.Engine,
        client: Redis,
        cache: Redis,
        broker: Redis | None,
        settings: Settings,
    ) -> None:
        """`client` is the server of the streams; without `broker`, the broker is not a Redis."""
        self._engine = engine
        self._client = client
        self._cache = cache
        self._broker = broker
        self._broker_url = settings.broker
        self._limit = settings.stream_limit
        self._stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """A collector for the servers that the settings name, with connections of its own."""
        timeout = settings.redis_timeout
        return cls(
            make_engine(settings, "orderworks-metrics"),
            make_redis(settings.stream, timeout),
            make_redis(settings.cache, timeout),
            make_redis(settings.broker, timeout) if is_redis(settings.broker) else None,
            settings,
        )

    def collect(self) -> Iterator[Metric]:
        """The metrics. Those of an unavailable server are missing, and its `orderworks_up` is 0."""
        servers: dict[str, Callable[[], list[MetricSample]]] = {
            "postgresql": self._database,
            "stream": self._streams,
            "cache": self._cached,
            "broker": self._queues,
        }
        with ThreadPoolExecutor(len(servers)) as pool:
            by_server = [*pool.map(_read_or_down, servers, servers.values())]
        yield from _families([sample for samples in by_server for sample in samples])

    def _database(self) -> list[MetricSample]:
        """The metrics from PostgreSQL, of one snapshot, so that they add up."""
        with consistent(self._engine) as connection:
            connection.execute(sa.text(f"SET LOCAL statement_timeout = '{DATABASE_SECONDS}s'"))
            database, details = read_database(connection), read_details(connection)
            entries = read_entries(connection)
        return [
            *_verdicts(details.shards, self._stream.shards),
            *_waiting(database, details),
            *_imports(database, details),
            *_beat(entries),
            *_rollups(details.last_check),
        ]

    def _streams(self) -> list[MetricSample]:
        samples = [MetricSample("orderworks_stream_limit_entries", self._limit, {})]
        for shard, waiting, lag in self._stream.backlog().shards:
            label = {"shard": str(shard)}
            samples.append(MetricSample("orderworks_stream_entries", waiting, label))
            samples.append(MetricSample("orderworks_stream_lag_seconds", lag, label))
        return [*samples, *_memory(self._client, "stream"), *_late_fsyncs(self._client, "stream")]

    def _cached(self) -> list[MetricSample]:
        cache = read_cache(self._cache, tuple(Window))
        return [
            *_memory(self._cache, "cache"),
            *_reads(cache.reads),
            *_delays(invalidation.read_delays(self._cache)),
            *_reports(cache.as_of),
        ]

    def _queues(self) -> list[MetricSample]:
        """The messages in each queue, and the memory of a broker that is a Redis."""
        if self._broker:
            server = [*_memory(self._broker, "broker"), *_late_fsyncs(self._broker, "broker")]
            return [*server, *_queues(self._broker.llen)]
        with Connection(self._broker_url, connect_timeout=BROKER_SECONDS) as connection:
            return [*_queues(partial(queue_length, connection))]


def _read_or_down(server: str, read: Callable[[], list[MetricSample]]) -> list[MetricSample]:
    """The samples of a server with `orderworks_up` 1; only `orderworks_up` 0 if it fails."""
    label = {"server": server}
    try:
        return [*read(), MetricSample("orderworks_up", 1, label)]
    except (sa.exc.SQLAlchemyError, redis.RedisError, OperationalError) as error:
        reason = error_summary(error) if isinstance(error, sa.exc.DBAPIError) else str(error)
        log.warning("metrics_missing server=%s error=%s", server, reason)
        return [MetricSample("orderworks_up", 0, label)]


def _families(samples: Sequence[MetricSample]) -> Iterator[Metric]:
    for metric, documentation in DOCUMENTED.items():
        of_metric = [each for each in samples if each.metric == metric]
        if of_metric:
            kind = CounterMetricFamily if metric.endswith("_total") else GaugeMetricFamily
            family = kind(metric, documentation, labels=[*of_metric[0].labels])
            for _metric, value, labels in of_metric:
                family.add_metric([*labels.values()], value)
            yield family


def _verdicts(counted: Mapping[int, Mapping[str, int]], shards: int) -> Iterator[MetricSample]:
    """The counters of the shards; zeros for a shard without any, so that its first one is a rise."""
    for shard in sorted({*range(shards), *counted}):
        label, counts = {"shard": str(shard)}, counted.get(shard, {})
        accepted = counts.get("accepted", 0)
        yield MetricSample("orderworks_updates_accepted_total", accepted, label)
        for verdict in VERDICTS:
            count = counts.get(verdict, 0)
            yield MetricSample("orderworks_updates_total", count, {**label, "verdict": verdict})


def _waiting(database: DatabaseSnapshot, details: DatabaseDetails) -> Iterator[MetricSample]:
    """Updates that are parked, in the outbox or dead, and changes that no refresh has folded."""
    for metric, value in (
        ("parked_updates", database.totals["parked"]),
        ("locked_updates", database.locked),
        ("blocking_sessions", len(database.blocking)),
        ("blocking_seconds", max((each.seconds for each in database.blocking), default=0.0)),
        ("parked_overdue_seconds", details.parked_overdue),
        ("outbox_updates", database.totals["outbox"]),
        ("outbox_lag_seconds", details.outbox_lag),
        ("change_log_rows", details.change_log),
    ):
        yield MetricSample(f"orderworks_{metric}", value, {})
    for replayed, count in (("false", database.unreplayed), ("true", details.replayed)):
        yield MetricSample("orderworks_dead_updates", count, {"replayed": replayed})


def _imports(database: DatabaseSnapshot, details: DatabaseDetails) -> Iterator[MetricSample]:
    for status in map(str, ImportStatus):
        count = database.imports.get(status, 0)
        yield MetricSample("orderworks_imports", count, {"status": status})
    yield MetricSample("orderworks_import_oldest_seconds", details.oldest_import, {})
    for status in CHUNK_STATUSES:
        count = details.chunks.get(status, 0)
        yield MetricSample("orderworks_import_chunks", count, {"status": status})
    for outcome, rows in details.rows.items():
        yield MetricSample("orderworks_import_rows", rows, {"outcome": outcome})


def _rollups(last: ReconcileRun | None) -> Iterator[MetricSample]:
    """Differences that the last check found; nothing before the first one."""
    if last:
        for table, rows in last.counted.by_table.items():
            yield MetricSample("orderworks_rollup_drift_rows", rows, {"table": table})
        ended = last.finished_at.timestamp()
        yield MetricSample("orderworks_last_rollup_check_timestamp_seconds", ended, {})


def _reports(as_of: Mapping[Window, datetime]) -> Iterator[MetricSample]:
    for window, moment in as_of.items():
        label = {"window": window.value}
        metric = "orderworks_report_as_of_timestamp_seconds"
        yield MetricSample(metric, moment.timestamp(), label)


def _queues(length: Callable[[str], object]) -> Iterator[MetricSample]:
    """The number of messages in each queue; `length` returns that of one."""
    for queue in Queue:
        label = {"queue": queue.value}
        yield MetricSample("orderworks_queue_messages", int(str(length(queue.value))), label)


def _reads(counts: Mapping[str, int]) -> Iterator[MetricSample]:
    refused = counts["refused"]
    yield MetricSample("orderworks_cache_refused_stores_total", refused, {})
    for result in READS:
        yield MetricSample("orderworks_cache_reads_total", counts[result], {"result": result})


def _delays(read: Mapping[invalidation.Path, invalidation.Delays]) -> Iterator[MetricSample]:
    for path, last in read.items():
        for quantile, seconds in (("0.5", last.p50), ("0.99", last.p99), ("1", last.longest)):
            label = {"path": path.value, "quantile": quantile}
            yield MetricSample("orderworks_invalidation_seconds", seconds, label)


def _memory(client: Redis, server: str) -> list[MetricSample]:
    info: Any = client.info("memory")
    label = {"server": server}
    return [
        MetricSample("orderworks_redis_memory_bytes", info["used_memory"], label),
        MetricSample("orderworks_redis_memory_limit_bytes", info["maxmemory"], label),
    ]


def _late_fsyncs(client: Redis, server: str) -> Iterator[MetricSample]:
    late = delayed_fsyncs(client)
    if late is not None:
        yield MetricSample("orderworks_redis_late_fsyncs_total", late, {"server": server})


def _beat(entries: Sequence[BeatEntry]) -> Iterator[MetricSample]:
    for each in entries:
        label, alive_at = {"entry": each.entry}, each.alive_at.timestamp()
        yield MetricSample("orderworks_beat_last_success_timestamp_seconds", alive_at, label)
        if not each.paused:
            yield MetricSample("orderworks_beat_period_seconds", each.every, label)
