"""One Redis client per event loop, as a connection works in one loop only; closed with its loop."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio

PendingCommand = tuple[tuple[Any, ...], asyncio.Future[Any]]
"""A command, and the reply that a task waits for."""


class PipelinedClient:
    """Sends the commands that tasks issue in one iteration of the loop as one pipeline.

    A gateway's requests come in bursts; a connection and a round trip for each of them would cost
    several times what the commands do. A cancelled task does not affect the others.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """`client`: closed by the caller."""
        self._client = client
        self._pending: list[PendingCommand] = []
        self._batches: set[asyncio.Task[None]] = set()

    async def execute_command(self, *command: Any) -> Any:  # noqa: ANN401 - any type commands take
        """Return the reply.

        Raises:
            redis.RedisError: the server returns an error or is unavailable.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._pending.append((command, future))
        if len(self._pending) == 1:
            batch = loop.create_task(self._send_batch())
            self._batches.add(batch)
            batch.add_done_callback(self._batches.discard)
        return await future

    async def _send_batch(self) -> None:
        """Send all commands issued until this task was scheduled, and resolve their futures."""
        pending, self._pending = self._pending, []
        try:
            replies = await self._pipeline([command for command, _ in pending])
        except redis.RedisError as error:
            replies = [error] * len(pending)
        except BaseException:
            for _, future in pending:
                future.cancel()
            raise
        for (_, future), reply in zip(pending, replies, strict=True):
            _resolve(future, reply)

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return a reply or an error for each command."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # One timeout for all: one per reply, as in a pipeline of redis-py, doubles the cost.
            async with asyncio.timeout(connection.socket_timeout):
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _read_reply(connection) for _ in commands]
        except TimeoutError:
            raise redis.TimeoutError("the server did not reply in time") from None
        finally:
            await pool.release(connection)


async def _read_reply(connection: Any) -> Any:  # noqa: ANN401 - a reply of any type
    """Return the next reply or error. If this is interrupted, redis-py closes the connection."""
    try:
        return await connection.read_response(timeout=math.inf)
    except redis.ResponseError as error:
        return error


def _resolve(future: asyncio.Future[Any], reply: object) -> None:
    if future.done():
        # Its task was cancelled.
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


class LoopClient(NamedTuple):
    """The client of a loop, and the asynchronous generator that closes it."""

    client: PipelinedClient
    lifetime: AsyncGenerator[PipelinedClient]


class LoopClients:
    """The clients of all event loops of a process.

    `asyncio.run` closes the client of its loop, as it does every asynchronous generator that is not
    finished. Connections of a loop that is closed without it are garbage-collected, at the latest when
    another loop opens a client.
    """

    def __init__(self, make: Callable[[], redis.asyncio.Redis]) -> None:
        """`make` returns a client that is not connected yet."""
        self._make = make
        self._opened: dict[asyncio.AbstractEventLoop, LoopClient] = {}

    async def for_running_loop(self) -> PipelinedClient:
        """Return the client of the running loop, opened on first use."""
        opened = self._opened.get(asyncio.get_running_loop())
        return opened.client if opened else await self._open()

    async def close(self) -> None:
        """Close the client of the running loop, if it has one."""
        opened = self._opened.get(asyncio.get_running_loop())
        if opened:
            await opened.lifetime.aclose()

    async def _open(self) -> PipelinedClient:
        for loop in list(self._opened):
            if loop.is_closed():
                self._opened.pop(loop, None)
        lifetime = self._client_lifetime()
        client = await anext(lifetime)
        self._opened[asyncio.get_running_loop()] = LoopClient(client, lifetime)
        return client

    async def _client_lifetime(self) -> AsyncGenerator[PipelinedClient]:
        client = self._make()
        try:
            yield PipelinedClient(client)
        finally:
            self._opened.pop(asyncio.get_running_loop(), None)
            await client.aclose()
