"""Broadcasts of events: all listeners of one share its source, so a thousand cost one poll.

A slow listener misses events and gets the newest one: no events are queued.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from itertools import count

import structlog

log = structlog.get_logger(__name__)

HEARTBEAT = 5.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the stream. With each
one it is checked whether the client is still authorized."""

FEW_LISTENERS = 100
"""Listeners to which an event is sent at once."""

TURNS, TURN_SECONDS = 50, 0.002
"""The turns in which an event is sent to more of them, and the time of a turn: between two turns, other
requests are served."""

RETRY = b"retry: 2000\n\n"
"""The beginning of a stream: the milliseconds after which a client reconnects if it breaks."""

KEEPALIVE = b": still here\n\n"

EventSource = Callable[[], AsyncIterator[bytes]]
"""Starts a source of encoded events. The broadcast ends with its source."""


class Broadcasts:
    """The broadcasts of a process, by name. They belong to one event loop."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}
        self._closed = False

    async def subscribe(self, name: str, source: EventSource) -> AsyncGenerator[bytes, None]:
        """Yield what one stream sends: the newest event at once, then each further one.

        The source is started for the first listener, and ends with the last one.
        """
        broadcast = self._broadcasts.get(name) or self._start(name, source)
        turn = next(broadcast.numbers) % TURNS
        broadcast.listeners += 1
        try:
            yield RETRY
            number = 0
            while numbered := await broadcast.next_event(number, turn):
                number, event = numbered
                yield event
        finally:
            broadcast.listeners -= 1
            if not broadcast.listeners:
                self._end(name, broadcast)

    def close(self) -> None:
        """End all streams, also those that begin afterwards: the process is stopping."""
        self._closed = True
        for name, broadcast in [*self._broadcasts.items()]:
            self._end(name, broadcast)

    def _start(self, name: str, source: EventSource) -> "Broadcast":
        broadcast = self._broadcasts[name] = Broadcast(source())
        if self._closed:
            broadcast.end()
        return broadcast

    def _end(self, name: str, broadcast: "Broadcast") -> None:
        broadcast.end()
        if self._broadcasts.get(name) is broadcast:
            del self._broadcasts[name]


class Broadcast:
    """The events of one source, which runs until `end`.

    Attributes:
        listeners: the number of streams that follow it.
        numbers: gives each of them a number.
    """

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self.listeners, self.numbers = 0, count()
        self._newest, self._number, self._ended = b"", 0, False
        self._news = _news_of_turns()
        self._publishing = asyncio.create_task(self._publish(source))

    async def next_event(self, last: int, turn: int) -> tuple[int, bytes] | None:
        """Wait for an event after number `last`; return the newest one with its number.

        Of many listeners, those of a higher turn get it a moment later.

        Return a comment with the old number after `HEARTBEAT` seconds without an event, and None once
        the broadcast has ended.
        """
        if self._number == last and not self._ended and not await self._wait_for_news(turn):
            return last, KEEPALIVE
        return (self._number, self._newest) if self._number > last else None

    def end(self) -> None:
        """End the broadcast and its source."""
        self._publishing.cancel()
        self._ended = True
        self._wake()

    async def _publish(self, source: AsyncIterator[bytes]) -> None:
        try:
            async for event in source:
                self._newest, self._number = event, self._number + 1
                self._wake()
        except Exception:
            # The streams end, and clients reconnect.
            log.exception("broadcast_failed")
        finally:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        """Wake the waiting listeners, many of them in turns; later ones wait for the next event."""
        woken, self._news = self._news, _news_of_turns()
        if self.listeners > FEW_LISTENERS:
            _wake_in_turns(woken)
            return
        for news in woken:
            news.set()

    async def _wait_for_news(self, turn: int) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT):
                return await self._news[turn].wait()
        return False


def _news_of_turns() -> list[asyncio.Event]:
    return [asyncio.Event() for _ in range(TURNS)]


def _wake_in_turns(waiting: list[asyncio.Event]) -> None:
    """Set the first event now and each other one later, so that the event loop runs in between."""
    first, *rest = waiting
    first.set()
    if rest:
        asyncio.get_running_loop().call_later(TURN_SECONDS, _wake_in_turns, rest)
