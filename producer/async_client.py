"""The producer for asyncio. It runs the steps of the synchronous one without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Literal, Self, TypeVar, Unpack, overload

from orderworks.core.effects import run_async
from orderworks.core.redis import make_async_redis
from orderworks.core.routing import TaskName
from orderworks.updates.messages import OrderUpdate
from producer.client import Producer, load_settings
from producer.effects import NudgeEffect, ProducerEffect, ProducerSteps, Replies, RoundTrip
from producer.imports.job import ImportJob
from producer.imports.options import ImportKeywords
from producer.imports.sources.open_source import ImportSource
from producer.nudges import Nudges
from producer.receipts import AsyncReceipt
from producer.updates.append import Appender, AppendOptions
from producer.updates.async_connections import AsyncConnections, AsyncRedisConnection
from producer.updates.chunking import aiter_chunks

T = TypeVar("T")


class AsyncProducer:
    """Accepts order updates and import files for the workers, from one event loop.

        async with AsyncProducer.from_settings() as producer:
            await producer.update(OrderUpdate(order_id=42, total="19.99", status="paid"))

    It may be made anywhere, and belongs to the event loop that uses it first; in another one it raises
    `ConfigurationError`. It opens at most 64 connections; a call that gets none of them within
    `REDIS_TIMEOUT` raises `Unavailable`. Otherwise calls end within the time that `Producer` documents.
    After a call was cancelled, its updates may or may not be accepted, as after a lost reply.
    """

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        broker_url: str | None = None,
        spool_url: str | None = None,
    ) -> None:
        """Make a producer. The parameters and errors are those of `Producer`."""
        settings = load_settings(redis_url, broker_url, spool_url)
        client = make_async_redis(settings.stream, settings.redis_timeout)
        self._connections = AsyncConnections(client, settings.redis_timeout)
        self._appender = Appender(settings)
        self._nudges = Nudges(settings.broker)
        self._importer = Producer(redis_url=redis_url, broker_url=broker_url, spool_url=spool_url)

    @classmethod
    def from_settings(cls) -> Self:
        """Make a producer for the servers that the environment names."""
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Nothing is buffered: every accepted update is in Redis already."""
        await self._connections.close()
        self._nudges.close()
        self._importer.close()

    @overload
    async def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: Literal[False] = False,
    ) -> str: ...
    @overload
    async def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: Literal[True],
    ) -> AsyncReceipt: ...
    async def update(
        self,
        update: OrderUpdate,
        *,
        wait_for_room: float = 0,
        durable: bool = False,
        track: bool = False,
    ) -> str | AsyncReceipt:
        """Accept an update; return its entry id, or with `track` an `AsyncReceipt`.

        Parameters and errors are those of `Producer.update`.
        """
        options = AppendOptions(wait_for_room, durable, track)
        entry = await self._run(self._appender.append_one(update, options))
        return self.receipt(update.order_id, entry) if track else entry

    def receipt(self, order_id: int, entry: str) -> AsyncReceipt:
        """Return the receipt of a tracked update from its order and entry id, as `Producer.receipt`."""
        return AsyncReceipt(entry, self._appender.shard_of_order(order_id), self._run)

    async def update_many(
        self,
        updates: Iterable[OrderUpdate] | AsyncIterable[OrderUpdate],
        *,
        wait_for_room: float = 0,
        durable: bool = False,
    ) -> int:
        """Accept any number of updates; return their number.

        Parameters and errors are those of `Producer.update_many`. `updates` may also be an async
        iterable; while one that is not yields the updates of a chunk, the event loop is blocked.
        """
        options = AppendOptions(wait_for_room, durable)
        accepted = 0
        await self._run(self._appender.ensure_durable(options))
        async with aclosing(aiter_chunks(updates, self._appender.chunk_size(options))) as chunks:
            async for chunk in chunks:
                accepted = await self._run(self._appender.append_chunk(chunk, accepted, options))
        return accepted

    async def import_file(
        self, source: ImportSource, **options: Unpack[ImportKeywords]
    ) -> ImportJob:
        """Accept a file, in a thread; return the job.

        Parameters and errors are those of `Producer.import_file`. Wait for the end of the import by
        `await asyncio.to_thread(job.wait)`.
        """
        return await asyncio.to_thread(partial(self._importer.import_file, source, **options))

    async def import_tried(self, import_id: str, *, again: bool = False) -> ImportJob:
        """Import the file that a dry run has kept, in a thread, as `Producer.import_tried` does."""
        return await asyncio.to_thread(self._importer.import_tried, import_id, again=again)

    async def _run(self, steps: ProducerSteps[T]) -> T:
        performer = _AsyncPerformer(self._connections, self._nudges)
        try:
            return await run_async(steps, performer.perform)
        finally:
            if performer.held:
                await self._connections.discard(performer.held)


class _AsyncPerformer:
    """Performs the effects of one call.

    Attributes:
        held: the connection that a later round trip of the call needs.
    """

    __slots__ = ("_connections", "_nudges", "held")

    def __init__(self, connections: AsyncConnections, nudges: Nudges) -> None:
        self._connections = connections
        self._nudges = nudges
        self.held: AsyncRedisConnection | None = None

    async def perform(self, effect: ProducerEffect) -> Replies | None:
        if isinstance(effect, RoundTrip):
            # If an exchange is interrupted, it discards the connection itself.
            held, self.held = self.held, None
            replies, self.held = await self._connections.exchange(effect, held)
            return replies
        if isinstance(effect, NudgeEffect):
            await asyncio.to_thread(self._nudges.send, TaskName.DRAIN_UPDATES, effect.shard)
        else:
            await asyncio.sleep(effect.seconds)
        return None
