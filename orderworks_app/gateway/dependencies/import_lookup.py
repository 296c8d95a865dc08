"""The state of an import: from the ledger, or what workers published last while it cannot be read."""

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
    """The state of an import, and its age in seconds; None if it was read from the ledger."""

    summary: Summary
    age: int | None


async def find_import(resources: GatewayResources, import_id: str) -> ImportSnapshot:
    """Read an import from the ledger; if that is unavailable, what was published last.

    Raises:
        ImportNotFound: there is no such import.
        Exception: why the ledger cannot be read, if nothing was published either.
    """
    try:
        find = resources.blocking.imports.find_with_wait_state
        return ImportSnapshot(
            await resources.in_thread_within(LEDGER_TIMEOUT, find, import_id), None
        )
    except TimeoutError:
        error: Exception = Unavailable(f"PostgreSQL did not answer within {LEDGER_TIMEOUT:g} s")
    except OUTAGES as outage:
        error = outage
    snapshot = await _last_published(resources, import_id)
    if snapshot is None or problem_of(error).kind is not ProblemKind.UNAVAILABLE:
        raise error
    return snapshot


async def _last_published(resources: GatewayResources, import_id: str) -> ImportSnapshot | None:
    """Read the published state in the event loop: all threads may be waiting for PostgreSQL."""
    key = import_progress(import_id)
    with suppress(redis.RedisError):
        async with resources.stream.pipeline(transaction=False) as pipe:
            pipe.hget(key, "body")
            pipe.ttl(key)
            body, remaining = await pipe.execute()
        if body is not None:
            # A published state expires after `PROGRESS_TTL`, so its remaining time gives its age.
            summary = msgspec.json.decode(body, type=Summary)
            return ImportSnapshot(
                {**summary, "waits_for_updates": None}, max(0, PROGRESS_TTL - remaining)
            )
    return None
