"""Tests whether servers accept writes: one that answers and refuses them does no work."""

import redis
import sqlalchemy as sa

from orderworks.core.keys import write_probe
from orderworks.core.redis import Redis

PROBE_MS = 1000
"""Milliseconds after which the key of a probe expires."""


def redis_refusal(client: Redis) -> str | None:
    """Return why the server refuses writes; None if it accepts them.

    It does so if its memory is full and it may not evict, as a replica, or if its disk failed. A user
    without the right to write this key proves nothing.

    Raises:
        redis.RedisError: the server did not answer.
    """
    try:
        client.set(write_probe(), b"1", px=PROBE_MS)
    except redis.exceptions.NoPermissionError:
        return None
    except redis.ResponseError as error:
        return str(error)
    return None


def postgresql_refusal(engine: sa.Engine) -> str | None:
    """Return why the database refuses writes; None if it accepts them.

    A session that refuses them may be older than the database's present state: a new one decides.
    """
    if _session_refusal(engine) is None:
        return None
    engine.dispose()
    return _session_refusal(engine)


def _session_refusal(engine: sa.Engine) -> str | None:
    states = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean"
    with engine.connect() as connection:
        is_standby, is_read_only = connection.execute(sa.text(states)).one()
    if is_standby:
        return "it is a standby (in recovery)"
    return "it is read-only (default_transaction_read_only)" if is_read_only else None
