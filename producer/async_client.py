"""The producer for asyncio: the same steps as the other one's, which never block the event loop."""

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload

from orderworks.core.effects import run_async
from orderworks.core.redis import make_async_redis
from orderworks.core.routing import TaskName
from orderworks.updates.messages import OrderUpdate
from producer.client import Producer, load_settings
from producer.effects import NudgeEffect, ProducerEffect, ProducerSteps, Replies, RoundTrip
from producer.imports.job import ImportJob
from producer.imports.sources.open_source import ImportSource
from producer.nudges import Nudges
from producer.receipts import AsyncReceipt
from producer.updates.append import Appender, AppendOptions
from producer.updates.async_connections import AsyncConnections, AsyncRedisConnection
from producer.updates.chunking import aiter_chunks

T = TypeVar("T")


P = ParamSpec("P")


def _typed_as(
    _model: Callable[Concatenate[Producer, P], T],
) -> Callable[
    [Callable[..., Coroutine[Any, Any, T]]],
    Callable[Concatenate["AsyncProducer", P], Coroutine[Any, Any, T]],
]:
    """Give a method the parameters of a method of `Producer`, for type checkers only."""
    return lambda method: method


class AsyncProducer:
    """Hands work over to the workers, as `Producer` does, from one event loop.

    It may be made anywhere and belongs to the event loop that uses it first; in another one it raises
    `ConfigurationError`. It opens 64 connections at the most; a call that gets none of them within
    `REDIS_TIMEOUT` raises `Unavailable`. Otherwise calls end within the time that `Producer` states.
    A call that is cancelled is like one whose answer was lost: it may have been accepted.
    """

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        broker_url: str | None = None,
        spool_url: str | None = None,
    ) -> None:
        """Addresses that are not given come from the environment (`REDIS_URL`, …).

        Raises:
            ConfigurationError: an address is missing or wrong; names the variable.
        """
        settings = load_settings(redis_url, broker_url, spool_url)
        client = make_async_redis(settings.stream, settings.redis_timeout)
        self._connections = AsyncConnections(client, settings.redis_timeout)
        self._appender = Appender(settings)
        self._nudges = Nudges(settings.broker)
        self._importer = Producer(redis_url=redis_url, broker_url=broker_url, spool_url=spool_url)

    @classmethod
    def from_settings(cls) -> Self:
        """A producer for the servers that the environment names."""
        return cls()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Nothing waits to be sent: what was accepted is accepted."""
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
        """Accept one update; its entry id, or a receipt. As `Producer.update`, errors included."""
        wanted = AppendOptions(wait_for_room, durable, track)
        entry = await self._run(self._appender.append_one(update, wanted))
        return self.receipt(update.order_id, entry) if track else entry

    def receipt(self, order_id: int, entry: str) -> AsyncReceipt:
        """The receipt for a tracked update, from its entry id. As `Producer.receipt`."""
        return AsyncReceipt(entry, self._appender.shard_of_order(order_id), self._run)

    async def update_many(
        self,
        updates: Iterable[OrderUpdate] | AsyncIterable[OrderUpdate],
        *,
        wait_for_room: float = 0,
        durable: bool = False,
    ) -> int:
        """Accept any number of updates; how many. As `Producer.update_many`, errors included.

        The event loop waits for an iterable that is not async while that makes a chunk.
        """
        wanted = AppendOptions(wait_for_room, durable)
        accepted = 0
        await self._run(self._appender.ensure_durable(wanted))
        async with aclosing(aiter_chunks(updates, self._appender.chunk_size(wanted))) as made:
            async for chunk in made:
                accepted = await self._run(self._appender.append_chunk(chunk, accepted, wanted))
        return accepted

    @_typed_as(Producer.import_file)
    async def import_file(self, source: ImportSource, **options: Any) -> ImportJob:  # noqa: ANN401
        """Accept a file, in a thread; return the job. As `Producer.import_file`, errors included.

        `await asyncio.to_thread(job.wait)` waits for its end.
        """
        return await asyncio.to_thread(partial(self._importer.import_file, source, **options))

    async def import_tried(self, import_id: str, *, again: bool = False) -> ImportJob:
        """Import the file that a dry run kept, in a thread. As `Producer.import_tried`."""
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
            # Where an exchange is interrupted, it discards the connection itself.
            held, self.held = self.held, None
            replies, self.held = await self._connections.exchange(effect, held)
            return replies
        if isinstance(effect, NudgeEffect):
            await asyncio.to_thread(self._nudges.send, TaskName.DRAIN_UPDATES, effect.shard)
        else:
            await asyncio.sleep(effect.seconds)
        return None
