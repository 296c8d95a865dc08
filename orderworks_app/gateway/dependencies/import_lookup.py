"""An import while the ledger cannot be read: what workers told its producer last, and how long ago."""

from contextlib import suppress
from typing import NamedTuple

import msgspec
import redis

from orderworks.core.errors import Unavailable
from orderworks.core.keys import import_progress
from orderworks.imports.progress import KEPT, Summary
from orderworks_app.gateway.http.problems import Kind, problem_of
from orderworks_app.gateway.resources import State
from orderworks_app.gateway.streaming.polling import AWAY

PATIENCE = 3.0
"""Seconds that the ledger has to answer."""


class Told(NamedTuple):
    """What is known of an import, and how many seconds ago it was so; None: it is so now."""

    summary: Summary
    age: int | None


async def look(state: State, import_id: str) -> Told:
    """What the ledger says; if it cannot, what was told last.

    Raises:
        ImportNotFound: nobody knows it.
        Exception: why the ledger cannot say, where nothing was told.
    """
    try:
        find = state.blocking.imports.look
        return Told(await state.in_thread_within(PATIENCE, find, import_id), None)
    except TimeoutError:
        error: Exception = Unavailable(f"PostgreSQL did not answer within {PATIENCE:g} s")
    except AWAY as away:
        error = away
    told = await _last_told(state, import_id)
    if told is None or problem_of(error).kind is not Kind.UNAVAILABLE:
        raise error
    return told


async def _last_told(state: State, import_id: str) -> Told | None:
    """From Redis, by the event loop: all threads may wait for PostgreSQL."""
    key = import_progress(import_id)
    with suppress(redis.RedisError):
        async with state.stream.pipeline(transaction=False) as pipe:
            pipe.hget(key, "body")
            pipe.ttl(key)
            body, left = await pipe.execute()
        if body is not None:
            # Each word of a worker is kept for as long, so what is left of that tells when it came.
            summary = msgspec.json.decode(body, type=Summary)
            return Told({**summary, "waits_for_updates": None}, max(0, KEPT - left))
    return None
