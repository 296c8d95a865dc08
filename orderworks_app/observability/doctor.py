"""Checks of the configuration, each with a remedy. `orderworks doctor` prints them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from kombu import Connection

import celeryconfig
from migrations import runner
from orderworks.core.database import make_engine
from orderworks.core.errors import OrderworksError
from orderworks.core.lock_holders import blocking_sessions
from orderworks.core.redis import Redis, check_single_server, is_redis, make_redis
from orderworks.core.routing import Queue
from orderworks.core.server_version import OLDEST, is_supported, server_version
from orderworks.core.sessions import is_pooled, parameters_lost
from orderworks.core.settings import Settings
from orderworks.imports.spool import Spool
from orderworks.reports import excluded_statuses
from orderworks.reports.excluded_statuses import format_statuses
from orderworks.updates.counters import read_mixed
from orderworks.updates.shard_layout import ShardLayout, read_layout
from orderworks_app.observability import worker_clocks
from orderworks_app.observability.snapshot import MAX_CLOCK_SKEW, delayed_fsyncs
from orderworks_app.observability.status import NOTHING_BLOCKS, describe_blocking
from orderworks_app.observability.write_refusals import postgresql_refusal, redis_refusal
from orderworks_app.operations.timespans import format_span
from worker.queue_length import queue_length

PROCESSES_A_HOST = 4
"""Children of the two worker services that `up` and the compose file start."""

LISTENERS_A_HOST = 1
"""Workers that listen to the outbox, with a connection each."""

BROKER_SECONDS = 3
"""Seconds to connect to a broker that is no Redis."""

GATEWAYS_A_HOST = 1
"""Gateway processes, each with an asyncpg pool in addition to the usual one."""


MAX_SHOWN = 5
"""Imports that a check names at most."""


@dataclass(frozen=True)
class Finding:
    """One check: what was observed, whether that is right, and the remedy if not."""

    check: str
    ok: bool
    observed: str
    remedy: str


def run_checks(settings: Settings) -> list[Finding]:
    """Check the servers' settings and Celery's configuration.

    Raises:
        sa.exc.DBAPIError, redis.RedisError: a server is unavailable; `orderworks status` shows which.
    """
    engine = make_engine(settings, "orderworks-doctor")
    with engine.connect() as connection:
        return [
            _writes("database", postgresql_refusal(engine)),
            *_stream(make_redis(settings.stream, settings.redis_timeout), settings),
            *_broker(settings),
            _cache_is_separate(settings),
            _damaged_manifests(Spool.from_settings(settings)),
            _version(connection),
            _sessions(connection, settings),
            _schema(connection),
            _statuses(connection, settings.uncounted_statuses),
            _versions(connection),
            _pool_budget(connection, settings),
            _locks(connection),
            _clocks(connection, settings),
            _worker_clocks(settings),
            _time_limits(),
        ]


def _stream(client: Redis, settings: Settings) -> Iterator[Finding]:
    check_single_server(client)
    yield from _accepts_work("update stream", client)
    yield _layout(client, settings.update_shards)


def _broker(settings: Settings) -> Iterator[Finding]:
    if not is_redis(settings.broker):
        yield _broker_answers(settings.broker)
        return
    client = make_redis(settings.broker, settings.redis_timeout)
    check_single_server(client)
    yield from _accepts_work("broker", client)


def _accepts_work(name: str, client: Redis) -> Iterator[Finding]:
    yield _writes(name, redis_refusal(client))
    yield _never_evicts(name, client)
    yield _is_durable(name, client)
    yield _fsyncs_in_time(name, client)


def _writes(name: str, refusal: str | None) -> Finding:
    return Finding(
        f"the {name} accepts writes",
        refusal is None,
        f"refuses writes: {refusal}" if refusal else "a write was accepted",
        "free memory or disk space, raise maxmemory, or name the primary server",
    )


def _fsyncs_in_time(name: str, client: Redis) -> Finding:
    delayed = delayed_fsyncs(client) or 0
    up: int = client.info("server")["uptime_in_seconds"]
    return Finding(
        f"the disk of the {name} is fast enough",
        delayed * 3600 <= max(up, 3600),
        f"{delayed} fsyncs were late in {format_span(up)}",
        "give it a faster disk: while an fsync is late, a kill of the server loses what it accepted in "
        "up to 2 s, unless with durable=True. `CONFIG RESETSTAT` resets the count",
    )


def _broker_answers(url: str) -> Finding:
    """Check a broker that is no Redis: its queues are durable, as workers declare them."""
    counts, problem = dict[str, int](), ""
    try:
        with Connection(url, connect_timeout=BROKER_SECONDS) as connection:
            counts = {queue.value: queue_length(connection, queue) for queue in Queue}
    except Exception as error:  # noqa: BLE001 - kombu raises any error of its transport
        problem = str(error) or repr(error)
    waiting = ", ".join(f"{count:,} in {queue}" for queue, count in counts.items())
    return Finding(
        "the broker answers, and its queues are durable",
        bool(counts),
        f"messages: {waiting}" if counts else problem,
        "start the broker or correct CELERY_BROKER_URL; delete queues of another kind",
    )


def _never_evicts(name: str, client: Redis) -> Finding:
    policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    return Finding(
        f"the {name} never evicts data",
        policy == "noeviction",
        f"maxmemory-policy is {policy}",
        "set maxmemory-policy noeviction: eviction deletes accepted work",
    )


def _is_durable(name: str, client: Redis) -> Finding:
    aof = client.config_get("appendonly")["appendonly"]
    return Finding(
        f"the {name} survives a restart",
        aof == "yes",
        f"appendonly is {aof}",
        "set appendonly yes: without it a restart loses accepted work",
    )


def _layout(client: Redis, shards: int) -> Finding:
    layout = read_layout(client) or ShardLayout(shards)
    change = "" if layout.goal is None else f", being changed to {layout.goal}"
    return Finding(
        "the update stream has UPDATE_SHARDS shards",
        layout == ShardLayout(shards),
        f"it has {layout.shards}{change}; UPDATE_SHARDS is {shards}",
        f"set UPDATE_SHARDS={layout.shards} on every host, or run `orderworks reshard {shards}`",
    )


def _cache_is_separate(settings: Settings) -> Finding:
    check_single_server(make_redis(settings.cache, settings.redis_timeout))
    is_separate = settings.cache != settings.stream
    return Finding(
        "the cache has a server of its own",
        is_separate,
        "CACHE_REDIS_URL is set" if is_separate else "cached reads are in REDIS_URL",
        "set CACHE_REDIS_URL to a server that may evict: cached reads could fill the stream's memory",
    )


def _damaged_manifests(spool: Spool) -> Finding:
    try:
        damaged = spool.list_damaged()
    except OrderworksError as error:
        return Finding(_PLANNABLE, ok=False, observed=str(error), remedy=_MOUNT_SPOOL)
    shown = ", ".join(damaged[:MAX_SHOWN]) + (", …" if len(damaged) > MAX_SHOWN else "")
    return Finding(
        _PLANNABLE,
        not damaged,
        f"{len(damaged)} manifests are set aside: {shown}" if damaged else "no damaged manifests",
        "see `manifest_set_aside` in the log of the workers, correct or import the files again, and "
        f"delete the manifests from damaged/ in {spool.address}",
    )


_PLANNABLE = "every accepted import can be planned"
_MOUNT_SPOOL = "give this host the spool of the workers, by SPOOL_URL"


def _version(connection: sa.Connection) -> Finding:
    return Finding(
        f"PostgreSQL is of version {OLDEST} or newer",
        is_supported(connection),
        f"version {server_version(connection)}",
        f"upgrade the server to version {OLDEST} or newer",
    )


def _sessions(connection: sa.Connection, settings: Settings) -> Finding:
    lost = parameters_lost(connection, settings)
    by = "its session from the start"
    if is_pooled(settings):
        by = "each transaction (DB_POOLER=transaction); the outbox is polled, without LISTEN"
    return Finding(
        "transactions have their time zone and timeouts",
        not lost,
        f"{', '.join(lost)}: not as set" if lost else f"set by {by}",
        "set DB_POOLER=transaction: a pooler between drops what a session starts with",
    )


def _schema(connection: sa.Connection) -> Finding:
    at, head = runner.current(connection), runner.head()
    return Finding(
        "the schema is at the newest revision",
        at == head,
        f"at {at}",
        "run `orderworks db upgrade`",
    )


def _statuses(connection: sa.Connection, excluded: tuple[str, ...]) -> Finding:
    in_force = excluded_statuses.read_excluded(connection)
    return Finding(
        "reports exclude the orders with UNCOUNTED_STATUSES",
        in_force == excluded,
        f"they exclude {format_statuses(in_force)}; the setting is {format_statuses(excluded)}",
        "set UNCOUNTED_STATUSES on every host to the excluded ones, or run `orderworks rebuild`",
    )


def _versions(connection: sa.Connection) -> Finding:
    """Check that no update mixed a counter with the order of acceptance: such a one has no effect."""
    # A schema before this code's has no such counters; the check of the schema reports that.
    columns = sa.inspect(connection).get_columns("update_shards")
    is_counted = any(column["name"] == "mixed" for column in columns)
    count, order_ids = read_mixed(connection) if is_counted else (0, [])
    last = ", ".join(map(str, order_ids[:MAX_SHOWN]))
    return Finding(
        "no update mixes a counter with the order of acceptance",
        not count,
        f"{count:,} updates had a counter as version, and their orders have newer versions by the order "
        f"of acceptance: they were not applied. The last was of order {last}"
        if count
        else "no such update",
        "give a moment as version, such as 2026-11-26T11:00:00Z, or no version, in all updates and "
        "files of an order, and send the values again. `UPDATE update_shards SET mixed = 0` resets the "
        "count",
    )


def _pool_budget(connection: sa.Connection, settings: Settings) -> Finding:
    limit = int(connection.execute(sa.text("SHOW max_connections")).scalar_one())
    processes = PROCESSES_A_HOST + GATEWAYS_A_HOST
    pools = processes * (settings.db_pool_size + settings.db_max_overflow)
    need = pools + LISTENERS_A_HOST + GATEWAYS_A_HOST * settings.gateway_pool_size
    return Finding(
        "the connections of a host's processes fit into max_connections",
        need <= 0.8 * limit,
        f"{processes} processes may open {need} of {limit} connections",
        "lower DB_POOL_SIZE, DB_MAX_OVERFLOW and GATEWAY_POOL_SIZE, or raise max_connections",
    )


def _locks(connection: sa.Connection) -> Finding:
    blocking = blocking_sessions(connection)
    pids = ", ".join(f"pg_terminate_backend({each.pid})" for each in blocking)
    return Finding(
        "no other session holds locks for long",
        not blocking,
        describe_blocking(blocking) if blocking else NOTHING_BLOCKS,
        f"have its transaction committed or rolled back, or end it by SELECT {pids}; "
        "idle_in_transaction_session_timeout prevents it",
    )


def _clocks(connection: sa.Connection, settings: Settings) -> Finding:
    seconds, microseconds = make_redis(settings.stream, settings.redis_timeout).time()
    clocks = [
        time.time(),
        seconds + microseconds / 1e6,
        float(connection.execute(sa.text("SELECT extract(epoch FROM now())")).scalar_one()),
    ]
    skew = max(clocks) - min(clocks)
    return Finding(
        "the clocks of this host, Redis and PostgreSQL agree",
        skew < MAX_CLOCK_SKEW,
        f"they differ by {skew:.1f} s",
        "run a time service on every host",
    )


def _worker_clocks(settings: Settings) -> Finding:
    skews, problem = dict[str, float](), "no worker answers"
    try:
        skews = worker_clocks.read_skews(make_redis(settings.stream, settings.redis_timeout))
    except Exception as error:  # noqa: BLE001 - kombu raises any error of its transport
        problem = f"workers cannot be asked: {error}"
    return Finding(
        "the clocks of workers and Redis agree",
        worker_clocks.agree(skews),
        worker_clocks.describe(skews) or problem,
        "run a time service on every host",
    )


def _time_limits() -> Finding:
    limit = celeryconfig.task_time_limit
    timeout = int(celeryconfig.broker_transport_options["visibility_timeout"])
    return Finding(
        "tasks end before the visibility timeout of their messages",
        limit < timeout,
        f"task_time_limit {limit} s, visibility_timeout {timeout} s",
        "in celeryconfig.py set task_time_limit below visibility_timeout",
    )
