"""The effects of a cached read: send the server a command, load the value, pause.

A read is written once, as a generator of these effects (`read_through.py`). The two functions here
perform them, one in a thread and one on an event loop.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from orderworks.cache.event_loops import PipelinedClient
from orderworks.core.effects import Pause, Steps, growing_pauses
from orderworks.core.redis import Redis

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two checks of what another reader computes: the first pause, and the longest."""

T = TypeVar("T")


class RedisCommand(NamedTuple):
    """Send the server one command. The result is its reply; an error reply is raised."""

    command: tuple[Any, ...]


class LoadValue(NamedTuple):
    """Call the decorated function. The result is what it returns; what it raises is raised."""


CacheEffect: TypeAlias = RedisCommand | Pause | LoadValue

CacheSteps: TypeAlias = Steps[CacheEffect, T]
"""The steps of a cached read. The result of a `Pause` is whether it was possible to sleep."""


def pauses(timeout: float | None = None) -> Iterator[float]:
    """Yield growing pauses in seconds, for `timeout` seconds or without end."""
    return growing_pauses(FIRST_PAUSE, LONGEST_PAUSE, timeout)


def perform(client: Redis, load: Callable[[], object], effect: CacheEffect) -> object:
    """Perform an effect in this thread; return its result."""
    if isinstance(effect, RedisCommand):
        reply: object = client.execute_command(*effect.command)  # type: ignore[no-untyped-call]
        return reply
    if isinstance(effect, LoadValue):
        return load()
    return _sleep_unless_loop_runs(effect.seconds)


def _sleep_unless_loop_runs(seconds: float) -> bool:
    """Sleep, and return true; false in a thread whose event loop runs.

    Plain code that is called there must not sleep: it would stop the tasks that it waits for.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        time.sleep(seconds)
        return True
    return False


async def perform_async(
    client: PipelinedClient, load: Callable[[], Awaitable[object]], effect: CacheEffect
) -> object:
    """Perform an effect on the event loop; return its result."""
    if isinstance(effect, RedisCommand):
        return await client.execute_command(*effect.command)
    if isinstance(effect, LoadValue):
        return await load()
    await asyncio.sleep(effect.seconds)
    return True
