"""Checks of a set-up, each with its remedy. `orderworks doctor` prints them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

import celeryconfig
from migrations import runner
from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.reports import excluded_statuses
from orderworks.reports.excluded_statuses import format_statuses
from orderworks.updates.shard_layout import ShardLayout, read_layout
from orderworks_app.observability.snapshot import MAX_CLOCK_SKEW

PROCESSES_A_HOST = 4
"""Children of the two worker services that `up` and the compose file start."""

LISTENERS_A_HOST = 1
"""Workers that listen to the outbox, with a connection each."""

GATEWAYS_A_HOST = 1
"""Gateway processes, each with a pool for what is awaited beside the usual one."""


@dataclass(frozen=True)
class Finding:
    """One check: what was found, whether that is well, and what to do if not."""

    check: str
    ok: bool
    observed: str
    remedy: str


def run_checks(settings: Settings) -> list[Finding]:
    """Look at the servers and at Celery's table.

    Raises:
        sa.exc.DBAPIError, redis.RedisError: a server is away; `orderworks status` says which.
    """
    engine = make_engine(settings, "orderworks-doctor")
    with engine.connect() as connection:
        return [
            *_stream(make_redis(settings.stream, settings.redis_timeout), settings),
            *_broker(make_redis(settings.broker, settings.redis_timeout)),
            _cache_apart(settings),
            _schema(connection),
            _statuses(connection, settings.uncounted_statuses),
            _pool_budget(connection, settings),
            _clocks(connection, settings),
            _time_limits(),
        ]


def _stream(client: Redis, settings: Settings) -> Iterator[Finding]:
    yield _evicts_nothing("update stream", client)
    yield _durable("update stream", client)
    yield _layout(client, settings.update_shards)


def _broker(client: Redis) -> Iterator[Finding]:
    yield _evicts_nothing("broker", client)
    yield _durable("broker", client)


def _evicts_nothing(name: str, client: Redis) -> Finding:
    policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
    return Finding(
        f"the {name} evicts nothing",
        policy == "noeviction",
        f"maxmemory-policy is {policy}",
        "set maxmemory-policy noeviction: eviction deletes work that was accepted",
    )


def _durable(name: str, client: Redis) -> Finding:
    aof = client.config_get("appendonly")["appendonly"]
    return Finding(
        f"the {name} outlives a restart",
        aof == "yes",
        f"appendonly is {aof}",
        "set appendonly yes: without it a restart forgets what was accepted",
    )


def _layout(client: Redis, shards: int) -> Finding:
    layout = read_layout(client) or ShardLayout(shards)
    changes = "" if layout.goal is None else f", being changed to {layout.goal}"
    return Finding(
        "updates are spread over as many shards as UPDATE_SHARDS says",
        layout == ShardLayout(shards),
        f"over {layout.shards}{changes}; UPDATE_SHARDS is {shards}",
        "set UPDATE_SHARDS everywhere to what they are spread over, or run `orderworks reshard`",
    )


def _cache_apart(settings: Settings) -> Finding:
    apart = settings.cache != settings.stream
    return Finding(
        "the cache has a place of its own",
        apart,
        "CACHE_REDIS_URL is set" if apart else "cached reads share REDIS_URL",
        "set CACHE_REDIS_URL to a server that may evict: cached reads could fill the stream's memory",
    )


def _schema(connection: sa.Connection) -> Finding:
    at, head = runner.current(connection), runner.head()
    return Finding(
        "the schema is the newest", at == head, f"at {at}", "run `orderworks db upgrade`"
    )


def _statuses(connection: sa.Connection, excluded: tuple[str, ...]) -> Finding:
    in_force = excluded_statuses.read_excluded(connection)
    return Finding(
        "reports leave out the orders that UNCOUNTED_STATUSES says",
        in_force == excluded,
        f"they leave out {format_statuses(in_force)}; it says {format_statuses(excluded)}",
        "set UNCOUNTED_STATUSES everywhere to what they leave out, or run `orderworks rebuild`",
    )


def _pool_budget(connection: sa.Connection, settings: Settings) -> Finding:
    limit = int(connection.execute(sa.text("SHOW max_connections")).scalar_one())
    processes = PROCESSES_A_HOST + GATEWAYS_A_HOST
    pools = processes * (settings.db_pool_size + settings.db_max_overflow)
    need = pools + LISTENERS_A_HOST + GATEWAYS_A_HOST * settings.gateway_pool_size
    return Finding(
        "a host's processes fit into max_connections",
        need <= 0.8 * limit,
        f"{processes} processes may open {need} of {limit}",
        "lower DB_POOL_SIZE, DB_MAX_OVERFLOW and GATEWAY_POOL_SIZE, or raise max_connections",
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


def _time_limits() -> Finding:
    limit = celeryconfig.task_time_limit
    timeout = int(celeryconfig.broker_transport_options["visibility_timeout"])
    return Finding(
        "no task outlives its message's visibility timeout",
        limit < timeout,
        f"task_time_limit {limit} s, visibility_timeout {timeout} s",
        "in celeryconfig.py keep task_time_limit below visibility_timeout",
    )
