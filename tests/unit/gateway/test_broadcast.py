"""Broadcasts: one source for all listeners, the newest event for slow ones, and their end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import pytest

from orderworks_app.gateway.streaming import broadcast
from orderworks_app.gateway.streaming.broadcast import KEEPALIVE, RETRY, Broadcasts


class FakeSource:
    """A source of given events, which counts its starts and ends."""

    def __init__(self) -> None:
        self.started = self.ended = 0
        self._queue = asyncio.Queue[bytes | None]()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the emitted events, until None."""
        self.started += 1
        try:
            while event := await self._queue.get():
                yield event
        finally:
            self.ended += 1

    async def emit(self, *events: bytes | None) -> None:
        """Emit these events, and wait until all listeners had their turn."""
        for each in events:
            self._queue.put_nowait(each)
        await settle()


async def settle() -> None:
    """Wait until all tasks that can run have run."""
    for _ in range(50):
        await asyncio.sleep(0)


def running(test: Callable[[FakeSource, Broadcasts], Awaitable[None]]) -> None:
    """Run the test in a new event loop, for at most 10 seconds."""

    async def run() -> None:
        async with asyncio.timeout(10):
            await test(FakeSource(), Broadcasts())

    asyncio.run(run())


def test_slow_listener_gets_the_newest_and_the_last_event() -> None:
    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async with (
            aclosing(broadcasts.subscribe("a", source.events)) as quick,
            aclosing(broadcasts.subscribe("a", source.events)) as slow,
        ):
            assert [await anext(quick), await anext(slow)] == [RETRY, RETRY]
            received = []
            for event in (b"1", b"2", b"3"):
                await source.emit(event)
                received.append(await anext(quick))
            assert received == [b"1", b"2", b"3"]
            assert await anext(slow) == b"3"
            await source.emit(b"4", b"5", None)
            assert [each async for each in quick] == [b"5"]
            assert [each async for each in slow] == [b"5"]

    running(test)


def test_all_listeners_share_one_source_which_ends_with_the_last_listener() -> None:
    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        for times in (1, 2):
            async with AsyncExitStack() as stack:
                streams = [broadcasts.subscribe("a", source.events) for _ in range(100)]
                for each in streams:
                    await stack.enter_async_context(aclosing(each))
                    assert await anext(each) == RETRY
                await source.emit(b"%d" % times)
                assert [await anext(each) for each in streams] == [b"%d" % times] * 100
                assert (source.started, source.ended) == (times, times - 1)
            await settle()
            assert (source.started, source.ended) == (times, times)

    running(test)


def test_late_listener_gets_the_newest_event_at_once() -> None:
    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async with aclosing(broadcasts.subscribe("a", source.events)) as first:
            await anext(first)
            await source.emit(b"1")
            async with aclosing(broadcasts.subscribe("a", source.events)) as later:
                assert [await anext(later), await anext(later)] == [RETRY, b"1"]

    running(test)


def test_idle_broadcast_sends_keepalives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "HEARTBEAT", 0.01)

    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async with aclosing(broadcasts.subscribe("a", source.events)) as stream:
            assert [await anext(stream) for _ in range(3)] == [RETRY, KEEPALIVE, KEEPALIVE]
            await source.emit(b"1")
            assert await anext(stream) == b"1"

    running(test)


def test_failed_source_ends_its_streams_and_later_ones_start_a_new_source() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"1"
        raise LookupError

    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async with aclosing(broadcasts.subscribe("a", failing)) as stream:
            assert [each async for each in stream] == [RETRY, b"1"]
        async with aclosing(broadcasts.subscribe("a", source.events)) as stream:
            await anext(stream)
            await source.emit(b"2")
            assert await anext(stream) == b"2"

    running(test)


def test_closing_ends_all_streams_and_later_ones_at_once() -> None:
    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async with aclosing(broadcasts.subscribe("a", source.events)) as stream:
            await anext(stream)
            broadcasts.close()
            assert [each async for each in stream] == []
        async with aclosing(broadcasts.subscribe("b", source.events)) as stream:
            assert [each async for each in stream] == [RETRY]

    running(test)


def test_event_for_many_listeners_is_sent_in_turns() -> None:
    """Else one event for thousands of listeners delays all other requests."""
    listeners, at_once, received = 1000, 0, 0

    async def test(source: FakeSource, broadcasts: Broadcasts) -> None:
        async def listen() -> None:
            nonlocal received
            async with aclosing(broadcasts.subscribe("a", source.events)) as stream:
                await anext(stream)
                joined.release()
                await anext(stream)
                received += 1

        nonlocal at_once
        joined = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(listen()) for _ in range(listeners)]
        for _ in tasks:
            await joined.acquire()
        await source.emit(b"1")
        while received < listeners:
            before = received
            await asyncio.sleep(0)
            at_once = max(at_once, received - before)
        await asyncio.gather(*tasks)

    running(test)
    assert at_once < listeners / 2
