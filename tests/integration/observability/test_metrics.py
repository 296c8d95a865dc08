"""Metrics equal the data of the servers, and an unavailable server hides no other."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orderworks.cache import Cache
from orderworks.cache.invalidation import Path, record
from orderworks.core.redis import Redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.schema import (
    dead_updates,
    import_chunks,
    imports,
    parked_updates,
    update_outbox,
)
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks.reports.rebuild import Rebuild
from orderworks.reports.refresh import refresh
from orderworks.reports.windows import Window
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from orderworks_app.observability.metrics import DOCUMENTED, Metrics
from producer.imports.accept import accept_import
from producer.imports.options import ImportOptions
from tests.support.types import AcceptUpdates, DrainAll, WriteRows
from worker.beat.entries import PlannedEntry, pause, register
from worker.beat.slots import record_success

Values = dict[str, float]
"""Values by metric and labels, as in the output."""


@pytest.fixture
def collect(settings: Settings) -> Callable[..., Values]:
    """Read the metrics and parse them as Prometheus does."""

    def read(**overrides: str) -> Values:
        used = settings.model_copy(update=overrides)
        text = generate_latest(Metrics.from_settings(used)).decode()
        return {
            sample.name + json.dumps(sample.labels).replace("{}", ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    return read


def of(metric: str, **labels: str) -> str:
    """The key of a metric with these labels."""
    return metric + (json.dumps(labels) if labels else "")


def test_verdict_counters_equal_drain_results(
    seed: WriteRows,
    accept: AcceptUpdates,
    drain: DrainAll,
    collect: Callable[..., Values],
) -> None:
    seed({2: (1, "new", Decimal(2), 10)})
    accept(
        [
            OrderUpdate(order_id=2, total="2", version=9),
            OrderUpdate(order_id=2, total="2", version=10),
            OrderUpdate(order_id=2, total="3", version=11),
            OrderUpdate(order_id=2, total="4", version=12),
            OrderUpdate(order_id=7, total="4"),
        ]
    )
    drain()
    expected = {
        "0": {"accepted": 4, "applied": 1, "superseded": 1, "stale": 1, "duplicate": 1, "dead": 0},
        "1": dict.fromkeys(("applied", "superseded", "stale", "duplicate", "dead"), 0)
        | {"accepted": 1},
    }
    values = collect()
    for shard, counts in expected.items():
        assert values[of("orderworks_updates_accepted_total", shard=shard)] == counts.pop(
            "accepted"
        )
        for verdict, count in counts.items():
            assert values[of("orderworks_updates_total", shard=shard, verdict=verdict)] == count
    assert values["orderworks_parked_updates"] == 1
    accepted = sum(
        v for k, v in values.items() if k.startswith("orderworks_updates_accepted_total")
    )
    verdicts = sum(v for k, v in values.items() if k.startswith("orderworks_updates_total"))
    assert accepted == verdicts + values["orderworks_parked_updates"]


def test_pending_work_is_reported_with_its_age(
    engine: sa.Engine,
    stream: Redis,
    updates: UpdateStream,
    settings: Settings,
    collect: Callable[..., Values],
) -> None:
    hour_ago = int((time.time() - 3600) * 1000)
    stream.xadd("orders:updates:{1}", {"update": b"{}"}, id=f"{hour_ago}-0")
    updates.append(1, [b"{}", b"{}"])
    past = sa.func.now() - timedelta(hours=1)
    parked = {"shard": 0, "order_id": 2, "payload": b"{}", "reason": "", "next_attempt_at": past}
    with engine.begin() as connection:
        connection.execute(sa.insert(parked_updates).values(entry=1, **parked))
        connection.execute(
            sa.insert(parked_updates).values(
                {**parked, "entry": 2, "next_attempt_at": sa.func.now()}
            )
        )
        connection.execute(sa.insert(update_outbox).values(order_id=1, total=1, enqueued_at=past))
    for queue, count in ((Queue.IMPORTS, 3), (Queue.UPDATES, 1)):
        with make_redis(settings.broker, timeout=5) as broker:
            broker.rpush(queue.value, *range(count))
    values = collect()
    assert values[of("orderworks_stream_entries", shard="0")] == 0
    assert values[of("orderworks_stream_entries", shard="1")] == 3
    assert values[of("orderworks_stream_lag_seconds", shard="0")] == 0
    assert values["orderworks_parked_updates"] == 2
    assert values["orderworks_outbox_updates"] == 1
    for age in (
        of("orderworks_stream_lag_seconds", shard="1"),
        "orderworks_parked_overdue_seconds",
        "orderworks_outbox_lag_seconds",
    ):
        assert 3600 <= values[age] < 3700
    queues = {queue: values[of("orderworks_queue_messages", queue=queue)] for queue in Queue}
    assert queues == {"updates": 1, "imports": 3, "reports": 0, "upkeep": 0}
    assert values["orderworks_stream_limit_entries"] == settings.stream_limit


def test_future_attempt_is_not_overdue(engine: sa.Engine, collect: Callable[..., Values]) -> None:
    to_come = sa.func.now() + timedelta(hours=1)
    parked = {"shard": 0, "order_id": 2, "payload": b"{}", "reason": "", "next_attempt_at": to_come}
    with engine.begin() as connection:
        connection.execute(sa.insert(parked_updates).values(entry=1, **parked))
    assert collect()["orderworks_parked_overdue_seconds"] == 0


def test_dead_updates_are_counted_by_replay_state(
    engine: sa.Engine, collect: Callable[..., Values]
) -> None:
    letter = {"shard": 0, "payload": b"", "reason": "", "first_seen": sa.func.now(), "attempts": 1}
    with engine.begin() as connection:
        for entry in range(5):
            replayed_at = sa.func.now() if entry < 2 else None
            connection.execute(
                sa.insert(dead_updates).values(entry=entry, replayed_at=replayed_at, **letter)
            )
    values = collect()
    assert values[of("orderworks_dead_updates", replayed="true")] == 2
    assert values[of("orderworks_dead_updates", replayed="false")] == 3


def test_imports_are_counted_by_status_and_rows_by_outcome(
    engine: sa.Engine,
    stream: Redis,
    cache: Redis,
    settings: Settings,
    collect: Callable[..., Values],
) -> None:
    importer = Importer(engine, Spool(settings.spool), stream, cache, settings)
    for content in (b"id,name\n1,Ada\n2,Bob\nx,Eve\n", b"id,name\n3,Cid\n"):
        job = accept_import(
            content,
            ImportOptions(kind="customers"),
            spool=importer.spool,
            stream=stream,
            settings=settings,
        )
        importer.plan(job.id)
        if b"Ada" in content:
            importer.load_chunk(job.id, 0)
            importer.finish(job.id)
    with engine.begin() as connection:
        past = sa.func.now() - timedelta(hours=1)
        connection.execute(sa.update(imports).values(accepted_at=past))
        assert connection.scalar(sa.select(sa.func.count()).select_from(import_chunks)) == 2
    values = collect()

    def by(metric: str, label: str) -> dict[str, float]:
        start = f'{metric}{{"{label}": "'
        return {
            name.removeprefix(start).removesuffix('"}'): value
            for name, value in values.items()
            if name.startswith(start) and value
        }

    assert by("orderworks_imports", "status") == {"running": 1, "done": 1}
    assert by("orderworks_import_chunks", "status") == {"pending": 1, "done": 1}
    assert by("orderworks_import_rows", "outcome") == {"applied": 2, "rejected": 1}
    assert 3600 <= values["orderworks_import_oldest_seconds"] < 3700
    assert values["orderworks_change_log_rows"] == 2


def test_report_timestamps_are_exported(
    engine: sa.Engine, cache: Redis, collect: Callable[..., Values]
) -> None:
    assert not [name for name in collect() if "timestamp" in name], "no report is published yet"
    refreshed = refresh(engine, cache, lambda _ids: None, depth=10)
    assert refreshed
    values = collect()
    for window in Window:
        as_of = values[of("orderworks_report_as_of_timestamp_seconds", window=window)]
        assert as_of == refreshed.as_of.timestamp()


def test_beat_entries_export_last_success_and_period(
    engine: sa.Engine, collect: Callable[..., Values]
) -> None:
    planned = [
        PlannedEntry("sweep", "tasks.upkeep.sweep", 5),
        PlannedEntry("purge", "tasks.upkeep.purge", 9),
    ]
    with engine.begin() as connection:
        register(connection, planned)
        pause(connection, "purge")
    before = time.time()
    with engine.begin() as connection:
        record_success(connection, "sweep")
    values = collect()
    last = "orderworks_beat_last_success_timestamp_seconds"
    assert abs(values[of(last, entry="sweep")] - before) < 5
    assert values[of(last, entry="purge")] < values[of(last, entry="sweep")], (
        "it counts from its start"
    )
    assert values[of("orderworks_beat_period_seconds", entry="sweep")] == 5
    assert of("orderworks_beat_period_seconds", entry="purge") not in values, (
        "paused, it owes nothing"
    )


def test_cached_reads_are_counted_by_result(
    settings: Settings, collect: Callable[..., Values]
) -> None:
    reads = Cache.from_settings(settings)
    read = reads.per_customer(ttl=60)(len_of)
    for _read in range(3):
        read(1, "abc")
    reads.close()
    values = collect()
    for result, count in {"hit": 2, "stale": 0, "miss": 1, "error": 0}.items():
        assert values[of("orderworks_cache_reads_total", result=result)] == count
    assert values["orderworks_cache_refused_stores_total"] == 0


def len_of(customer_id: int, text: str) -> int:
    return len(text)


def test_drift_is_exported_from_the_last_check(
    seed: WriteRows,
    engine: sa.Engine,
    cache: Redis,
    settings: Settings,
    collect: Callable[..., Values],
) -> None:
    assert of("orderworks_rollup_drift_rows", table="customer_daily") not in collect()
    seed({2: (1, "new", Decimal(1), 10)})
    refresh(engine, cache, lambda _ids: None, depth=10)
    for drift in (1, 0):
        with engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE customer_daily SET total = total + {drift}"))
        rebuild = Rebuild(engine, lambda: None, lambda _what, _counted: None)
        rebuild.run(settings.uncounted_statuses)
        assert collect()[of("orderworks_rollup_drift_rows", table="customer_daily")] == drift
    ended = collect()["orderworks_last_rollup_check_timestamp_seconds"]
    assert time.time() - 60 < ended < time.time() + 60


def test_invalidation_latency_is_exported_by_path_and_quantile(
    cache: Redis, collect: Callable[..., Values]
) -> None:
    record(cache, Path.LOG, [number / 100 for number in range(1, 101)])
    values, metric = collect(), "orderworks_invalidation_seconds"
    assert values[of(metric, path="log", quantile="0.5")] == pytest.approx(0.505)
    assert values[of(metric, path="log", quantile="0.99")] == pytest.approx(0.9901)
    assert values[of(metric, path="log", quantile="1")] == 1
    assert of(metric, path="worker", quantile="1") not in values, "no delay was recorded"


def test_every_metric_is_documented_and_exported(
    engine: sa.Engine, cache: Redis, settings: Settings
) -> None:
    refresh(engine, cache, lambda _ids: None, depth=10)
    record(cache, Path.WORKER, [0.001])
    with engine.begin() as connection:
        register(connection, [PlannedEntry("sweep", "tasks.upkeep.sweep", 5)])

    Rebuild(engine, lambda: None, lambda _what, _counted: None).run(settings.uncounted_statuses)
    families = [*Metrics.from_settings(settings).collect()]
    exported = [each.name + ("_total" if each.type == "counter" else "") for each in families]
    assert exported == list(DOCUMENTED)
    assert all(each.documentation and each.samples for each in families)


SERVERS = {
    "postgresql": {"database_url": "postgresql://me:hunter2@127.0.0.1:1/orders"},
    "stream": {"redis_url": "redis://:hunter2@127.0.0.1:1/0"},
    "cache": {"cache_redis_url": "redis://:hunter2@127.0.0.1:1/0"},
    "broker": {"celery_broker_url": "redis://:hunter2@127.0.0.1:1/0"},
}
KNOWN_BY = {
    "postgresql": "orderworks_parked_updates",
    "stream": "orderworks_stream_limit_entries",
    "cache": of("orderworks_redis_memory_bytes", server="cache"),
    "broker": of("orderworks_queue_messages", queue="imports"),
}


@pytest.mark.parametrize("unavailable", SERVERS)
def test_unavailable_server_is_reported_and_hides_no_other_metrics(
    collect: Callable[..., Values], caplog: pytest.LogCaptureFixture, unavailable: str
) -> None:
    values = collect(**SERVERS[unavailable])
    for server, metric in KNOWN_BY.items():
        assert values[of("orderworks_up", server=server)] == (server != unavailable)
        assert (metric in values) == (server != unavailable)
    assert f"metrics_missing server={unavailable}" in caplog.text
    assert "hunter2" not in caplog.text


def test_messages_are_counted_in_a_broker_that_is_no_redis(collect: Callable[..., Values]) -> None:
    values = collect(celery_broker_url="memory://")
    assert values[of("orderworks_up", server="broker")] == 1
    assert values[of("orderworks_queue_messages", queue="updates")] == 0
    unavailable = collect(celery_broker_url="amqp://guest@127.0.0.1:1//")
    assert unavailable[of("orderworks_up", server="broker")] == 0
    assert unavailable[of("orderworks_up", server="postgresql")] == 1


def test_database_queries_time_out(
    engine: sa.Engine, collect: Callable[..., Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks_app.observability.metrics.DATABASE_SECONDS", 1)
    with engine.begin() as other:
        other.execute(sa.text("LOCK TABLE dead_updates IN ACCESS EXCLUSIVE MODE"))
        values = collect()
    assert values[of("orderworks_up", server="postgresql")] == 0
    assert "orderworks_parked_updates" not in values
    assert values[of("orderworks_up", server="stream")] == 1
