"""Feeds: one source for all who listen, the newest event for who is slow, and an end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

import pytest

from orderworks_app.gateway.streaming import broadcast
from orderworks_app.gateway.streaming.broadcast import KEEPALIVE, RETRY, Broadcasts


class Bell:
    """A source that tells what it is given, and how often it began and ended."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.told = asyncio.Queue[bytes | None]()

    async def events(self) -> AsyncIterator[bytes]:
        """What was rung, until None."""
        self.begun += 1
        try:
            while event := await self.told.get():
                yield event
        finally:
            self.ended += 1

    async def ring(self, *events: bytes | None) -> None:
        """Tell these, and let everybody hear it who listens."""
        for each in events:
            self.told.put_nowait(each)
        await settle()


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def running(test: Callable[[Bell, Broadcasts], Awaitable[None]]) -> None:
    """Run it in an event loop of its own, for some seconds at the most."""

    async def run() -> None:
        async with asyncio.timeout(10):
            await test(Bell(), Broadcasts())

    asyncio.run(run())


def test_slow_listener_gets_the_newest_and_the_last_event() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        async with (
            aclosing(made.subscribe("a", bell.events)) as quick,
            aclosing(made.subscribe("a", bell.events)) as slow,
        ):
            assert [await anext(quick), await anext(slow)] == [RETRY, RETRY]
            heard = []
            for event in (b"1", b"2", b"3"):
                await bell.ring(event)
                heard.append(await anext(quick))
            assert heard == [b"1", b"2", b"3"]
            assert await anext(slow) == b"3"
            await bell.ring(b"4", b"5", None)
            assert [each async for each in quick] == [b"5"]
            assert [each async for each in slow] == [b"5"]

    running(test)


def test_all_listeners_share_one_source_which_ends_with_the_last_listener() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        for times in (1, 2):
            async with AsyncExitStack() as stack:
                streams = [made.subscribe("a", bell.events) for _ in range(100)]
                for each in streams:
                    await stack.enter_async_context(aclosing(each))
                    assert await anext(each) == RETRY
                await bell.ring(b"%d" % times)
                assert [await anext(each) for each in streams] == [b"%d" % times] * 100
                assert (bell.begun, bell.ended) == (times, times - 1)
            await settle()
            assert (bell.begun, bell.ended) == (times, times)

    running(test)


def test_late_listener_gets_the_newest_event_at_once() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as first:
            await anext(first)
            await bell.ring(b"1")
            async with aclosing(made.subscribe("a", bell.events)) as later:
                assert [await anext(later), await anext(later)] == [RETRY, b"1"]

    running(test)


def test_idle_feed_sends_keepalives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "HEARTBEAT", 0.01)

    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as stream:
            assert [await anext(stream) for _ in range(3)] == [RETRY, KEEPALIVE, KEEPALIVE]
            await bell.ring(b"1")
            assert await anext(stream) == b"1"

    running(test)


def test_failed_source_ends_its_streams_and_later_ones_start_a_new_source() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"1"
        raise LookupError

    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", failing)) as stream:
            assert [each async for each in stream] == [RETRY, b"1"]
        async with aclosing(made.subscribe("a", bell.events)) as stream:
            await anext(stream)
            await bell.ring(b"2")
            assert await anext(stream) == b"2"

    running(test)


def test_closing_ends_all_streams_and_later_ones_at_once() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as stream:
            await anext(stream)
            made.close()
            assert [each async for each in stream] == []
        async with aclosing(made.subscribe("b", bell.events)) as stream:
            assert [each async for each in stream] == [RETRY]

    running(test)
