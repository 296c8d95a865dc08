"""Connections to the server of the update stream for one event loop; `connections.py` is for threads."""

import asyncio
import time
from typing import Any, TypeAlias

import redis
import redis.asyncio

from orderworks.core.errors import ConfigurationError
from producer.effects import Replies, RoundTrip

MAX_CONNECTIONS = 64
"""Most connections at a time; further calls wait for one. Fewer keep an event loop busy, but durable
calls hold theirs until the server has synced its file."""

AsyncRedisConnection: TypeAlias = Any
"""A `redis.asyncio.Connection`, whose methods have no types."""


class AsyncConnections:
    """Opens connections on demand, at most `MAX_CONNECTIONS`.

    It belongs to the event loop that uses it first.
    """

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`client` has the options of connections; its own are not used. `timeout` is in seconds."""
        self._pool = client.connection_pool
        self._timeout = timeout
        self._idle: list[AsyncRedisConnection] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def exchange(
        self, request: RoundTrip, held: AsyncRedisConnection | None = None
    ) -> tuple[Replies, AsyncRedisConnection | None]:
        """Make a round trip over the connection `held`, or any; return the replies, and what is held.

        A connection is not used again after an error, nor if replies were left unread.

        Raises:
            ConfigurationError: this object belongs to another event loop.
        """
        self._refuse_other_loops()
        if held is None:
            try:
                held = await self._check_out()
            except redis.RedisError as error:
                return Replies([], error, sent=False), None
        try:
            replies = await _exchange(held, request)
        except BaseException:
            await self.discard(held)
            raise
        if request.keep_connection and not replies.error:
            return replies, held
        await (self.discard(held) if replies.error else self._check_in(held))
        return replies, None

    async def discard(self, held: AsyncRedisConnection) -> None:
        """Close a connection that is held."""
        self._slots.release()
        await held.disconnect(nowait=True)

    async def close(self) -> None:
        """Close idle connections now, and the others when their calls end."""
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
        """Return a connection without unread replies.

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
            connection = self._idle.pop()
            if await _is_usable(connection):
                return connection
            # As in `connections.py`: the others are probably lost, too.
            await connection.disconnect(nowait=True)
            await self._drop_idle()
        return None

    async def _connect(self) -> AsyncRedisConnection:
        connection: AsyncRedisConnection = self._pool.connection_class(
            **self._pool.connection_kwargs
        )
        await connection.connect()
        return connection

    async def _check_in(self, connection: AsyncRedisConnection) -> None:
        self._slots.release()
        self._idle.append(connection)
        if self._closed:
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()


async def _is_usable(connection: AsyncRedisConnection) -> bool:
    """Return whether the connection is open; one that was idle for long is checked by a PING."""
    try:
        if await connection.can_read():
            return False
        await connection.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


async def _exchange(connection: AsyncRedisConnection, request: RoundTrip) -> Replies:
    """Send the commands and read the replies. The caller closes the connection unless all came."""
    received: list[Any] = []
    try:
        if request.commands:
            await connection.send_packed_command(request.commands, check_health=False)
        deadline = request.timeout and time.monotonic() + request.timeout
        while len(received) < request.replies:
            received.append(await _read(connection, deadline))
    except redis.RedisError as error:
        return Replies(received, error)
    return Replies(received)


async def _read(connection: AsyncRedisConnection, deadline: float | None) -> object:
    """Return a reply of the server, which may be an error."""
    remaining = max(deadline - time.monotonic(), 0.001) if deadline else None
    try:
        return await connection.read_response(timeout=remaining)
    except redis.ResponseError as error:
        return error
