"""Connections to Redis or Valkey, with bounded waits, and the one server-side script they share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.maint_notifications import MaintNotificationsConfig

from orderworks.core.errors import ConfigurationError, Unavailable

Redis = redis.Redis
"""What `make_redis` gives: answers are bytes."""

MAX_THREAD_CONNECTIONS, MAX_TASK_CONNECTIONS = 10_000, 64
"""Connections of one client: of threads each has one while it asks, of more tasks some wait for one."""


def make_redis(url: str, timeout: float) -> Redis:
    """A client with its own connection pool; connects on first use, never waits longer than `timeout` s.

    Nothing is sent twice by itself: a repeated XADD would be a second update.

    Raises:
        ConfigurationError: `url` is not the URL of a Redis server.
    """
    with _reject_invalid_url():
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis.from_url(
            url, retry=never, max_connections=MAX_THREAD_CONNECTIONS, **_bounded(url, timeout)
        )


def make_async_redis(url: str, timeout: float) -> redis.asyncio.Redis:
    """The same for one event loop. A task waits no longer than `timeout` s for a connection, either.

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
    # A socket of Unix is there or not: the library takes no such options for it.
    over_network = {"socket_connect_timeout": min(timeout, 3.0), "socket_keepalive": True}
    return {
        **({} if url.startswith("unix:") else over_network),
        "socket_timeout": timeout,
        "health_check_interval": 30,
        # With them on, as they are by default, a pool of redis-py hands out connections that the server
        # has closed: each is found out by a command that fails. Only Redis Enterprise sends any.
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


def pack_command(*command: str | bytes | int) -> bytes:
    """A command as it is sent, for those who send several in one go."""
    # The library's own annotation forgets that there may be more than one argument.
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]


def redis_unavailable(error: redis.RedisError) -> Unavailable:
    """The error a person gets when Redis cannot be reached; the client says at which address."""
    return Unavailable(f"Redis cannot be used: {error}")


_SET_IF_NEWER = """
local known = redis.call('HGET', KEYS[1], 'fence')
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'body', ARGV[2])
if tonumber(ARGV[3]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""


def publish_if_newer(client: Redis, key: str, fence: int, body: bytes, ttl: int = 0) -> bool:
    """Replace the document at `key` unless one with a higher fence stands there.

    One server-side step, so that a slow writer cannot put an older document over a newer one.
    `ttl` is in seconds, 0 keeps it. Returns whether it was replaced.
    """
    return bool(client.eval(_SET_IF_NEWER, 1, key, fence, body, ttl))


def read_published(client: Redis, key: str) -> bytes | None:
    """The document that `publish_if_newer` left at `key`."""
    body: Any = client.hget(key, "body")
    return None if body is None else bytes(body)
