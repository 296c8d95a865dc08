"""Connections to the server of the update stream for one event loop. What `lines` is for threads."""

import asyncio
import time
from typing import Any, TypeAlias

import redis
import redis.asyncio

from orderworks.core.errors import ConfigurationError
from producer.effects import Replies, RoundTrip

MAX_CONNECTIONS = 64
"""Connections at a time; more calls wait for one of them. A loop is busy with fewer, but calls that
are durable hold theirs until the server has synced its file."""

AsyncRedisConnection: TypeAlias = Any
"""A `redis.asyncio.Connection`, whose methods have no types."""


class AsyncConnections:
    """Opens connections as they are needed, `MOST` at the most.

    It belongs to the event loop that uses it first.
    """

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`client` says how to connect; its own connections are not used. `timeout` is in seconds."""
        self._pool = client.connection_pool
        self._timeout = timeout
        self._idle: list[AsyncRedisConnection] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def exchange(
        self, request: RoundTrip, held: AsyncRedisConnection | None = None
    ) -> tuple[Replies, AsyncRedisConnection | None]:
        """Carry out a question over `kept`, or any connection; the answers, and what is kept.

        A connection that was lost is never used again, nor one whose answers were not all read.

        Raises:
            ConfigurationError: this is not the event loop that it belongs to.
        """
        self._refuse_other_loops()
        if held is None:
            try:
                held = await self._check_out()
            except redis.RedisError as error:
                return Replies([], error, sent=False), None
        try:
            answers = await _exchange(held, request)
        except BaseException:
            await self.discard(held)
            raise
        if request.keep_connection and not answers.error:
            return answers, held
        await (self.discard(held) if answers.error else self._check_in(held))
        return answers, None

    async def discard(self, held: AsyncRedisConnection) -> None:
        """Give up a connection."""
        self._slots.release()
        await held.disconnect(nowait=True)

    async def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._closed = True
        await self._drop_idle()

    def _refuse_other_loops(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise ConfigurationError(
                "this AsyncProducer belongs to the event loop that used it first: make one in each loop"
            )

    async def _check_out(self) -> AsyncRedisConnection:
        """A connection over which nothing is on its way.

        Raises:
            redis.RedisError: the server cannot be reached, or no connection was free in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise redis.TimeoutError(
                f"too many calls at a time: none of {MAX_CONNECTIONS} connections was free in "
                f"{self._timeout:g} s"
            ) from None
        try:
            return await self._reuse() or await self._connect()
        except BaseException:
            self._slots.release()
            raise

    async def _reuse(self) -> AsyncRedisConnection | None:
        while self._idle:
            line = self._idle.pop()
            if await _is_usable(line):
                return line
            # As in `lines`: the others are probably lost too.
            await line.disconnect(nowait=True)
            await self._drop_idle()
        return None

    async def _connect(self) -> AsyncRedisConnection:
        line: AsyncRedisConnection = self._pool.connection_class(**self._pool.connection_kwargs)
        await line.connect()
        return line

    async def _check_in(self, connection: AsyncRedisConnection) -> None:
        self._slots.release()
        self._idle.append(connection)
        if self._closed:
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            await line.disconnect()


async def _is_usable(connection: AsyncRedisConnection) -> bool:
    """Whether the server has neither closed it nor, where it was idle for long, lost it."""
    try:
        if await connection.can_read():
            return False
        await connection.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


async def _exchange(connection: AsyncRedisConnection, request: RoundTrip) -> Replies:
    """Send and read. Whoever called drops the connection unless all answers came."""
    given: list[Any] = []
    try:
        if request.commands:
            await connection.send_packed_command(request.commands, check_health=False)
        deadline = request.timeout and time.monotonic() + request.timeout
        while len(given) < request.replies:
            given.append(await _read(connection, deadline))
    except redis.RedisError as error:
        return Replies(given, error)
    return Replies(given)


async def _read(connection: AsyncRedisConnection, deadline: float | None) -> object:
    """An answer of the server, which may be its error."""
    left = max(deadline - time.monotonic(), 0.001) if deadline else None
    try:
        return await connection.read_response(timeout=left)
    except redis.ResponseError as error:
        return error
