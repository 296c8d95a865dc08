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


def test_who_is_slow_gets_the_newest_event_and_the_last_one() -> None:
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


def test_there_is_one_source_however_many_listen_and_none_when_nobody_does() -> None:
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


def test_who_comes_later_gets_the_newest_event_at_once() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as first:
            await anext(first)
            await bell.ring(b"1")
            async with aclosing(made.subscribe("a", bell.events)) as later:
                assert [await anext(later), await anext(later)] == [RETRY, b"1"]

    running(test)


def test_a_silent_feed_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "HEARTBEAT", 0.01)

    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as stream:
            assert [await anext(stream) for _ in range(3)] == [RETRY, KEEPALIVE, KEEPALIVE]
            await bell.ring(b"1")
            assert await anext(stream) == b"1"

    running(test)


def test_a_source_that_fails_ends_its_streams_and_the_next_ones_begin_anew() -> None:
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


def test_all_streams_end_when_the_feeds_are_closed_and_later_ones_at_once() -> None:
    async def test(bell: Bell, made: Broadcasts) -> None:
        async with aclosing(made.subscribe("a", bell.events)) as stream:
            await anext(stream)
            made.close()
            assert [each async for each in stream] == []
        async with aclosing(made.subscribe("b", bell.events)) as stream:
            assert [each async for each in stream] == [RETRY]

    running(test)
