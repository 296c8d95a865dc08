"""An import while the ledger cannot be read: what workers told its producer last, and how long ago."""

from contextlib import suppress
from typing import NamedTuple

import msgspec
import redis

from orderworks.core.errors import Unavailable
from orderworks.core.keys import import_progress
from orderworks.imports.progress import PROGRESS_TTL, Summary
from orderworks_app.gateway.http.problems import ProblemKind, problem_of
from orderworks_app.gateway.resources import GatewayResources
from orderworks_app.gateway.streaming.polling import OUTAGES

LEDGER_TIMEOUT = 3.0
"""Seconds that the ledger has to answer."""


class ImportSnapshot(NamedTuple):
    """What is known of an import, and how many seconds ago it was so; None: it is so now."""

    summary: Summary
    age: int | None


async def find_import(resources: GatewayResources, import_id: str) -> ImportSnapshot:
    """What the ledger says; if it cannot, what was told last.

    Raises:
        ImportNotFound: nobody knows it.
        Exception: why the ledger cannot say, where nothing was told.
    """
    try:
        find = resources.blocking.imports.find_with_wait_state
        return ImportSnapshot(
            await resources.in_thread_within(LEDGER_TIMEOUT, find, import_id), None
        )
    except TimeoutError:
        error: Exception = Unavailable(f"PostgreSQL did not answer within {LEDGER_TIMEOUT:g} s")
    except OUTAGES as away:
        error = away
    told = await _last_published(resources, import_id)
    if told is None or problem_of(error).kind is not ProblemKind.UNAVAILABLE:
        raise error
    return told


async def _last_published(resources: GatewayResources, import_id: str) -> ImportSnapshot | None:
    """From Redis, by the event loop: all threads may wait for PostgreSQL."""
    key = import_progress(import_id)
    with suppress(redis.RedisError):
        async with resources.stream.pipeline(transaction=False) as pipe:
            pipe.hget(key, "body")
            pipe.ttl(key)
            body, left = await pipe.execute()
        if body is not None:
            # Each word of a worker is kept for as long, so what is left of that tells when it came.
            summary = msgspec.json.decode(body, type=Summary)
            return ImportSnapshot(
                {**summary, "waits_for_updates": None}, max(0, PROGRESS_TTL - left)
            )
    return None
