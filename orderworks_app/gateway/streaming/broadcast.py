"""Feeds of events: each has one source, shared by all who listen, so that a thousand cost one look.

Who is slow misses events and gets the newest one: nothing is queued for anybody.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress

import structlog

log = structlog.get_logger(__name__)

HEARTBEAT = 5.0
"""Seconds without an event after which a comment is sent, so that no proxy takes the stream for dead.
With each one it is looked whether who listens still may."""

RETRY = b"retry: 2000\n\n"
"""What a stream begins with: after how many milliseconds to come again if it breaks."""

KEEPALIVE = b": still here\n\n"

EventSource = Callable[[], AsyncIterator[bytes]]
"""What begins a source: events, encoded. When there are no more, the feed is over."""


class Broadcasts:
    """The feeds of a process by their names. Belongs to one event loop."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}
        self._closed = False

    async def subscribe(self, name: str, source: EventSource) -> AsyncGenerator[bytes, None]:
        """What a stream of the feed sends: the newest event at once, then those that come.

        The source is begun for the first who listens, and ends with the last.
        """
        feed = self._broadcasts.get(name) or self._begin(name, source)
        feed.listeners += 1
        try:
            yield RETRY
            seen = 0
            while heard := await feed.next_event(seen):
                seen, event = heard
                yield event
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                self._end(name, feed)

    def close(self) -> None:
        """End all streams, those that begin from now on too: the process is about to stop."""
        self._closed = True
        for name, feed in [*self._broadcasts.items()]:
            self._end(name, feed)

    def _begin(self, name: str, source: EventSource) -> "Broadcast":
        feed = self._broadcasts[name] = Broadcast(source())
        if self._closed:
            feed.end()
        return feed

    def _end(self, name: str, feed: "Broadcast") -> None:
        feed.end()
        if self._broadcasts.get(name) is feed:
            del self._broadcasts[name]


class Broadcast:
    """The events of one source, which runs until `end`.

    Attributes:
        listeners: how many there are.
    """

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self.listeners = 0
        self._newest, self._number, self._over = b"", 0, False
        self._news = asyncio.Event()
        self._run = asyncio.create_task(self._publish(source))

    async def next_event(self, seen: int) -> tuple[int, bytes] | None:
        """The newest event and its number, once that is above `seen`; None if none will come.

        After a while without one, a comment under the old number.
        """
        if self._number == seen and not self._over and not await self._wait_for_news():
            return seen, KEEPALIVE
        return (self._number, self._newest) if self._number > seen else None

    def end(self) -> None:
        """Let no further event come."""
        self._run.cancel()
        self._over = True
        self._wake()

    async def _publish(self, source: AsyncIterator[bytes]) -> None:
        try:
            async for event in source:
                self._newest, self._number = event, self._number + 1
                self._wake()
        except Exception:
            # Those who listen come again by themselves.
            log.exception("feed_failed")
        finally:
            self._over = True
            self._wake()

    def _wake(self) -> None:
        """Let all who wait look; who waits from now on waits for what comes next."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _wait_for_news(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                return await self._news.wait()
        return False
