"""Looks at what blocks, for many at once: done in a thread of their own, and never two at a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import redis
import sqlalchemy as sa
from anyio import CapacityLimiter, to_thread

from orderworks.core.errors import Unavailable

T = TypeVar("T")

AWAY = (sa.exc.SQLAlchemyError, redis.RedisError, Unavailable)
"""What a look raises when its server is away, or not usable."""


class Look(Generic[T]):
    """A look that nobody waits for longer than it may take. It goes on; the next one finds it done."""

    def __init__(self, look: Callable[[], T], patience: float) -> None:
        """`patience` is in seconds."""
        self._look, self._patience = look, patience
        self._thread = CapacityLimiter(1)
        self._under_way: asyncio.Task[T] | None = None

    async def __call__(self) -> T | None:
        """What there is to see; None if the server is away, or does not answer in time."""
        if self._under_way is None:
            seeing = to_thread.run_sync(self._look, limiter=self._thread)
            self._under_way = asyncio.ensure_future(seeing)
            # If nobody comes again, nobody is told either.
            self._under_way.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        done, _pending = await asyncio.wait([self._under_way], timeout=self._patience)
        if not done:
            return None
        seen, self._under_way = self._under_way, None
        try:
            return seen.result()
        except AWAY:
            return None


class Recent(Generic[T]):
    """A look whose outcome is good for some seconds, for all who ask."""

    def __init__(self, look: Callable[[], T], seconds: float) -> None:
        self._look, self._seconds = look, seconds
        self._one = asyncio.Lock()
        self._seen: tuple[float, T] | None = None

    async def __call__(self) -> tuple[float, T]:
        """What there was to see, and how many seconds ago. What the look raises reaches who asked."""
        async with self._one:
            if self._seen is None or time.monotonic() - self._seen[0] > self._seconds:
                found = await to_thread.run_sync(self._look)
                self._seen = time.monotonic(), found
            at, found = self._seen
        return time.monotonic() - at, found
