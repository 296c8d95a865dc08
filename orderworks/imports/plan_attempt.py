"""Attempts to plan an import. Redis counts their starts, because the ledger has no entry of it yet."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from orderworks.core.errors import ImportFailed
from orderworks.core.keys import import_nudge, import_plan
from orderworks.core.redis import Redis
from orderworks.imports.outages import STARTS_TTL, failure_reason, is_outage

PLAN_ATTEMPTS = 3
"""Starts of a plan before the import is given up. Each may take minutes, and fails because of
the file, so that more would not help."""


@contextmanager
def plan_attempt(stream: Redis, import_id: str) -> Iterator[None]:
    """Count a start, before the work: so one that is killed, or takes too long, counts too.

    An error out of the block is recorded, and the start is not counted if an outage caused it.

    Raises:
        ImportFailed: too many plans of the import failed or were killed.
    """
    try:
        _count_start(stream, import_id)
        yield
    except ImportFailed:
        raise
    except Exception as error:
        with suppress(redis.RedisError):
            if is_outage(error):
                stream.hincrby(import_plan(import_id), "starts", -1)
                stream.delete(import_nudge(import_id))  # The next sweep nudges.
            else:
                stream.hset(import_plan(import_id), "error", failure_reason(error))
        raise


def _count_start(stream: Redis, import_id: str) -> None:
    key = import_plan(import_id)
    with stream.pipeline() as pipe:
        pipe.hincrby(key, "starts", 1)
        pipe.hget(key, "error")
        pipe.expire(key, STARTS_TTL)
        starts, error, _expires = pipe.execute()
    if starts > PLAN_ATTEMPTS:
        reason = error.decode() if error else "it took too long, or its worker was lost"
        raise ImportFailed(f"planning was given up after {PLAN_ATTEMPTS} starts: {reason}")
