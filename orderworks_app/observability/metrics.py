"""Numbers for a metrics system, read where they are kept: in PostgreSQL, the streams, the broker.

No process counts anything for them, so they are right whatever is restarted and however many workers
there are. Cached reads are the exception: processes count them, and tell the cache's server each second.
Needs `prometheus_client`, which the extra `worker` brings.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Self

import redis
import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orderworks.cache import READS, cache_counts, invalidation
from orderworks.core.database import error_summary, make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.schema import (
    change_log,
    dead_updates,
    import_chunks,
    imports,
    parked_updates,
    update_outbox,
    update_shards,
)
from orderworks.core.settings import Settings
from orderworks.imports.ledger import count_by_status
from orderworks.reports import reconcile_runs
from orderworks.reports.top_customers import published_report
from orderworks.reports.windows import Window
from orderworks.updates.messages import Verdict
from orderworks.updates.stream import UpdateStream
from worker.beat.entries import read_entries

log = logging.getLogger(__name__)

DATABASE_SECONDS = 5
"""That all questions to PostgreSQL may take together. A scrape is usually given ten."""

VERDICTS = tuple(each.value for each in Verdict if each is not Verdict.PARKED)
IMPORT_STATUSES = ("running", "paused", "done", "failed", "cancelled")
CHUNK_STATUSES = ("pending", "done", "quarantined")
OUTCOMES = ("applied", "unchanged", "stale", "superseded", "rejected")

DOCUMENTED = {
    "orderworks_up": "Whether the server answered; if not, what it knows is missing here.",
    "orderworks_updates_accepted_total": "Updates that drains have taken from the stream.",
    "orderworks_updates_total": "Updates by their final verdict. Accepted = these + parked.",
    "orderworks_parked_updates": "Updates that wait for their order or customer to appear.",
    "orderworks_parked_overdue_seconds": "How long the next attempt of a parked update is overdue.",
    "orderworks_dead_updates": "Updates that were given up and are kept, by whether replayed.",
    "orderworks_outbox_updates": "Updates in the outbox that are not applied.",
    "orderworks_outbox_lag_seconds": "Age of the oldest of these; 0 if there is none.",
    "orderworks_stream_entries": "Accepted updates that wait in the stream of the shard.",
    "orderworks_stream_lag_seconds": "Age of the oldest of these; 0 if there is none.",
    "orderworks_stream_limit_entries": "Entries of a shard from which on producers are refused.",
    "orderworks_imports": "Imports in the ledger by status.",
    "orderworks_import_chunks": "Chunks of the imports in the ledger by status.",
    "orderworks_import_rows": "Rows of the imports in the ledger by what became of them.",
    "orderworks_import_oldest_seconds": "Age of the oldest running import; 0 if none runs.",
    "orderworks_change_log_rows": "Entries of the change log that no refresh has folded, two an update.",
    "orderworks_cache_reads_total": "Cached reads by how they were answered.",
    "orderworks_invalidation_seconds": "How long cached reads outlived a change, of the last ones: "
    "by workers after their commits, and by the change log after those of all others.",
    "orderworks_cache_refused_stores_total": "Computed values that were not stored, or could not be.",
    "orderworks_rollup_drift_rows": "Rows that the last check of the rollups found wrong, and mended.",
    "orderworks_last_rollup_check_timestamp_seconds": "When the last check of the rollups ended.",
    "orderworks_report_as_of_timestamp_seconds": "What was committed until then is in the report.",
    "orderworks_beat_last_success_timestamp_seconds": "When the entry of beat last ended well; if "
    "later, since when it is due in its present period.",
    "orderworks_beat_period_seconds": "How often it is due. None for one that is paused.",
    "orderworks_queue_messages": "Messages in the broker that no worker has taken.",
    "orderworks_redis_memory_bytes": "Memory that the server uses for its data.",
    "orderworks_redis_memory_limit_bytes": "Memory that it may use; 0 is without a limit.",
}
"""Every metric with its help, in the order in which they are told. Counters end in `_total`."""


class MetricSample(NamedTuple):
    """One number. All samples of a metric have the same labels."""

    metric: str
    value: float
    labels: dict[str, str]


class Metrics(Collector):
    """All numbers at this moment, for as often as they are collected. Threads may share it.

    The servers are asked at the same time, so one that is away delays the others' numbers by its own
    timeout only: `DB_CONNECT_TIMEOUT` or `REDIS_TIMEOUT`.
    """

    def __init__(
        self,
        engine: sa.Engine,
        client: Redis,
        cache: Redis,
        broker: Redis | None,
        settings: Settings,
    ) -> None:
        """`client` is the server of the streams; `broker` is None if it is no Redis."""
        self._engine = engine
        self._client = client
        self._cache = cache
        self._broker = broker
        self._limit = settings.stream_limit
        self._stream = UpdateStream(client, settings.update_shards, settings.stream_limit)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The numbers of the servers that the settings name, over connections of their own."""
        timeout = settings.redis_timeout
        is_redis = settings.broker.startswith(("redis://", "rediss://", "unix://"))
        return cls(
            make_engine(settings, "orderworks-metrics"),
            make_redis(settings.stream, timeout),
            make_redis(settings.cache, timeout),
            make_redis(settings.broker, timeout) if is_redis else None,
            settings,
        )

    def collect(self) -> Iterator[Metric]:
        """The metrics. Those of a server that is away are missing, and `orderworks_up` says so."""
        servers: dict[str, Callable[[], list[MetricSample]]] = {
            "postgresql": self._database,
            "stream": self._streams,
            "cache": self._cached,
        }
        if self._broker:
            servers["broker"] = partial(_queues, self._broker)
        with ThreadPoolExecutor(len(servers)) as pool:
            found = [*pool.map(_read_or_down, servers, servers.values())]
        yield from _families([sample for samples in found for sample in samples])

    def _database(self) -> list[MetricSample]:
        """What PostgreSQL knows, in one snapshot, so that the numbers fit together."""
        with self._engine.connect() as connection:
            snapshot = connection.execution_options(isolation_level="REPEATABLE READ")
            snapshot.execute(sa.text(f"SET LOCAL transaction_timeout = '{DATABASE_SECONDS}s'"))
            return [
                *_verdicts(snapshot, self._stream.shards),
                *_waiting(snapshot),
                *_dead(snapshot),
                *_imports(snapshot),
                *_chunks(snapshot),
                MetricSample("orderworks_change_log_rows", _log_entries(snapshot), {}),
                *_beat(snapshot),
                *_rollups(snapshot),
            ]

    def _streams(self) -> list[MetricSample]:
        samples = [MetricSample("orderworks_stream_limit_entries", self._limit, {})]
        for shard, waiting, lag in self._stream.backlog().shards:
            label = {"shard": str(shard)}
            samples.append(MetricSample("orderworks_stream_entries", waiting, label))
            samples.append(MetricSample("orderworks_stream_lag_seconds", lag, label))
        return samples + _memory(self._client, "stream")

    def _cached(self) -> list[MetricSample]:
        samples = [
            *_memory(self._cache, "cache"),
            *_reads(cache_counts(self._cache)),
            *_delays(invalidation.read_delays(self._cache)),
        ]
        for window in Window:
            report = published_report(self._cache, window, limit=1)
            if report:
                as_of, label = report.as_of.timestamp(), {"window": window.value}
                samples.append(
                    MetricSample("orderworks_report_as_of_timestamp_seconds", as_of, label)
                )
        return samples


def _read_or_down(server: str, read: Callable[[], list[MetricSample]]) -> list[MetricSample]:
    """What a server knows, and that it is up; of one that fails, only that it is not."""
    label = {"server": server}
    try:
        return [*read(), MetricSample("orderworks_up", 1, label)]
    except (sa.exc.SQLAlchemyError, redis.RedisError) as error:
        said = error_summary(error) if isinstance(error, sa.exc.DBAPIError) else str(error)
        log.warning("metrics_missing server=%s error=%s", server, said)
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


def _verdicts(connection: sa.Connection, shards: int) -> Iterator[MetricSample]:
    """The accounts of the shards; zeros for those that have none yet, so that a first one is a rise."""
    query = sa.select(*update_shards.c["shard", "accepted", *VERDICTS])
    counted = {row.shard: row[1:] for row in connection.execute(query)}
    for shard in sorted({*range(shards), *counted}):
        label = {"shard": str(shard)}
        accepted, *given = counted.get(shard, (0,) * (1 + len(VERDICTS)))
        yield MetricSample("orderworks_updates_accepted_total", accepted, label)
        for verdict, count in zip(VERDICTS, given, strict=True):
            yield MetricSample("orderworks_updates_total", count, {**label, "verdict": verdict})


def _waiting(connection: sa.Connection) -> Iterator[MetricSample]:
    """What is parked, and what apps left in the outbox."""
    for metric, age, since in (
        ("parked_updates", "parked_overdue_seconds", parked_updates.c.next_attempt_at),
        ("outbox_updates", "outbox_lag_seconds", update_outbox.c.enqueued_at),
    ):
        count, oldest = connection.execute(sa.select(sa.func.count(), _age(since))).one()
        yield MetricSample(f"orderworks_{metric}", count, {})
        yield MetricSample(f"orderworks_{age}", oldest, {})


def _dead(connection: sa.Connection) -> Iterator[MetricSample]:
    is_replayed = dead_updates.c.replayed_at.is_not(None)
    query = sa.select(is_replayed, sa.func.count()).group_by(is_replayed)
    counted = dict(iter(connection.execute(query)))
    for replayed in (False, True):
        label = {"replayed": str(replayed).lower()}
        yield MetricSample("orderworks_dead_updates", counted.get(replayed, 0), label)


def _imports(connection: sa.Connection) -> Iterator[MetricSample]:
    counted = count_by_status(connection)
    for status in IMPORT_STATUSES:
        yield MetricSample("orderworks_imports", counted.get(status, 0), {"status": status})
    running = sa.select(_age(imports.c.accepted_at)).where(imports.c.status == "running")
    oldest = connection.execute(running).scalar_one()
    yield MetricSample("orderworks_import_oldest_seconds", oldest, {})


def _chunks(connection: sa.Connection) -> Iterator[MetricSample]:
    status = import_chunks.c.status
    sums = [sa.func.sum(import_chunks.c[outcome]) for outcome in OUTCOMES]
    query = sa.select(status, sa.func.count(), *sums).group_by(status)
    counted = {row[0]: row[1:] for row in connection.execute(query)}
    for each in CHUNK_STATUSES:
        count = counted[each][0] if each in counted else 0
        yield MetricSample("orderworks_import_chunks", count, {"status": each})
    for column, outcome in enumerate(OUTCOMES, 1):
        rows = sum(int(row[column]) for row in counted.values())
        yield MetricSample("orderworks_import_rows", rows, {"outcome": outcome})


def _log_entries(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.select(sa.func.sum(change_log.c.entries))) or 0)


def _rollups(connection: sa.Connection) -> Iterator[MetricSample]:
    """What the last check found; nothing before the first one."""
    last = reconcile_runs.last_finished_run(connection)
    if last:
        for table, rows in last.counted.by_table.items():
            yield MetricSample("orderworks_rollup_drift_rows", rows, {"table": table})
        ended = last.finished_at.timestamp()
        yield MetricSample("orderworks_last_rollup_check_timestamp_seconds", ended, {})


def _age(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """Seconds since the earliest of these moments; 0 if it is to come, or there is none."""
    seconds = sa.extract("epoch", sa.func.now() - sa.func.min(moment))
    return sa.cast(sa.func.greatest(seconds, 0), sa.Float)


def _queues(broker: Redis) -> list[MetricSample]:
    samples = _memory(broker, "broker")
    for queue in Queue:
        waiting = int(broker.llen(queue.value))
        samples.append(MetricSample("orderworks_queue_messages", waiting, {"queue": queue.value}))
    return samples


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


def _beat(connection: sa.Connection) -> Iterator[MetricSample]:
    for each in read_entries(connection):
        label, alive_at = {"entry": each.entry}, each.alive_at.timestamp()
        yield MetricSample("orderworks_beat_last_success_timestamp_seconds", alive_at, label)
        if not each.paused:
            yield MetricSample("orderworks_beat_period_seconds", each.every, label)
