"""Connections to Redis or Valkey, with bounded waits, and the one server-side script they share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.maint_notifications import MaintNotificationsConfig

from orderworks.core.errors import ConfigurationError, Unavailable
from orderworks.core.settings import ONE_SERVER

Redis = redis.Redis
"""The client that `make_redis` returns: its replies are bytes."""

MAX_THREAD_CONNECTIONS, MAX_TASK_CONNECTIONS = 10_000, 64
"""Connections of one client: each thread has one during a command; more tasks than that wait for one."""


def make_redis(url: str, timeout: float) -> Redis:
    """Return a client with its own connection pool; it connects on first use, and waits `timeout` s.

    It never repeats a command on its own: a repeated XADD would be a second update.

    Raises:
        ConfigurationError: `url` is not the URL of a Redis server.
    """
    with _reject_invalid_url():
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis.from_url(
            url, retry=never, max_connections=MAX_THREAD_CONNECTIONS, **_bounded(url, timeout)
        )


def make_async_redis(url: str, timeout: float) -> redis.asyncio.Redis:
    """Return the same for one event loop. A task waits at most `timeout` s for a connection, too.

    Raises:
        ConfigurationError: `url` is not the URL of a Redis server.
    """
    with _reject_invalid_url():
        never = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            retry=never,
            max_connections=MAX_TASK_CONNECTIONS,
            timeout=timeout,
            **_bounded(url, timeout),
        )
        return redis.asyncio.Redis.from_pool(pool)


def _bounded(url: str, timeout: float) -> dict[str, Any]:
    # redis-py accepts these options for TCP only.
    over_network = {"socket_connect_timeout": min(timeout, 3.0), "socket_keepalive": True}
    return {
        **({} if url.startswith("unix:") else over_network),
        "socket_timeout": timeout,
        "health_check_interval": 30,
        # If they are enabled, as by default, a pool of redis-py may return connections that the server
        # has closed, and the next command fails. Only Redis Enterprise sends such notifications.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


@contextmanager
def _reject_invalid_url() -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise ConfigurationError(
            "REDIS_URL, CACHE_REDIS_URL, CELERY_BROKER_URL: give them as "
            "redis://:password@host:port/number (or rediss://, unix://)"
        ) from None


def is_redis(url: str) -> bool:
    """Return whether the address is that of a Redis server. Celery's broker may be of another kind."""
    return url.startswith(("redis://", "rediss://", "unix://"))


def pack_command(*command: str | bytes | int) -> bytes:
    """Return a command as it is sent, for callers that send several at once."""
    # The library's own annotation allows one argument only.
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]


def redis_unavailable(error: redis.RedisError) -> Unavailable | ConfigurationError:
    """Return the error to show when Redis cannot be used; redis-py's message has the address."""
    if isinstance(error, _OF_CLUSTERS) or "cluster mode" in str(error):
        return _cluster_error()
    return Unavailable(f"Redis cannot be used: {error}")


_OF_CLUSTERS = (
    redis.exceptions.AskError,  # also MOVED
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.ClusterDownError,
)


def check_single_server(client: Redis) -> None:
    """Check that the server is not a member of a Redis Cluster, which has some of the keys only.

    Raises:
        ConfigurationError: it is.
    """
    cluster: Any = client.info("cluster")
    if cluster.get("cluster_enabled"):
        raise _cluster_error()


def _cluster_error() -> ConfigurationError:
    return ConfigurationError(f"this server is a member of a Redis Cluster. {ONE_SERVER}")


MAX_FENCE = 2**53
"""A fence above it is damaged: ours are counts, which numbers of the server's scripts hold exactly."""

LUA_FENCE = f"""
local function fence(field)
  if redis.call('TYPE', KEYS[1])['ok'] ~= 'hash' then redis.call('UNLINK', KEYS[1]) end
  local known = tonumber(redis.call('HGET', KEYS[1], field) or '')
  return known and known <= {MAX_FENCE} and known or 0
end
"""
"""A function of scripts: the number in a field of the hash, 0 without one. Other types are deleted."""

_SET_IF_NEWER = (
    LUA_FENCE
    + """
if fence('fence') > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'body', ARGV[2])
if tonumber(ARGV[3]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
)


def publish_if_newer(client: Redis, key: str, fence: int, body: bytes, ttl: int = 0) -> bool:
    """Replace the document at `key` unless it has a higher fence; return whether it was replaced.

    This is one server-side step, so that a slow writer cannot replace a newer document by an older one.
    `ttl` is in seconds; with 0 the document does not expire.
    """
    return bool(client.eval(_SET_IF_NEWER, 1, key, fence, body, ttl))


def read_published(client: Redis, key: str) -> bytes | None:
    """Return the document that `publish_if_newer` stored at `key`; None if it stored no document."""
    try:
        body: Any = client.hget(key, "body")
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
        return None
    return None if body is None else bytes(body)


def is_wrong_type(error: redis.ResponseError) -> bool:
    """Return whether a key has a value of another type than the command expects."""
    # In a pipeline, the command stands before it.
    return "WRONGTYPE" in str(error)
