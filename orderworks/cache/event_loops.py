"""A client for each event loop, because connections belong to one; it ends with its loop."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple

import redis
import redis.asyncio

PendingCommand = tuple[tuple[Any, ...], asyncio.Future[Any]]
"""A command, and the answer that a task waits for."""


class PipelinedClient:
    """Commands of all tasks that ask in one turn of the loop go in one round trip.

    A gateway's requests come in bunches; a connection and a round trip for each of them would cost
    several times what the commands do. A task that is cancelled takes nothing away from the others.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """The client stays its owner's."""
        self._client = client
        self._pending: list[PendingCommand] = []
        self._batches: set[asyncio.Task[None]] = set()

    async def execute_command(self, *command: Any) -> Any:  # noqa: ANN401 - whatever commands take
        """The answer.

        Raises:
            redis.RedisError: the server refuses the command, or cannot be asked.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._pending.append((command, answer))
        if len(self._pending) == 1:
            trip = loop.create_task(self._send_batch())
            self._batches.add(trip)
            trip.add_done_callback(self._batches.discard)
        return await answer

    async def _send_batch(self) -> None:
        """Send all that was asked until this task had its turn, and hand out the answers."""
        asked, self._pending = self._pending, []
        try:
            answers = await self._answers([command for command, _ in asked])
        except redis.RedisError as error:
            answers = [error] * len(asked)
        except BaseException:
            for _, answer in asked:
                answer.cancel()
            raise
        for (_, answer), given in zip(asked, answers, strict=True):
            _deliver(answer, given)

    async def _answers(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """An answer or an error for each command."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # One limit for all: one for each answer, as a pipeline has it, costs as much again.
            async with asyncio.timeout(connection.socket_timeout):
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _read_reply(connection) for _ in commands]
        except TimeoutError:
            raise redis.TimeoutError("the server did not answer in time") from None
        finally:
            await pool.release(connection)


async def _read_reply(connection: Any) -> Any:  # noqa: ANN401 - whatever the server says
    """What the server says next. If this is interrupted, the connection is closed."""
    try:
        return await connection.read_response(timeout=math.inf)
    except redis.ResponseError as error:
        return error


def _deliver(answer: asyncio.Future[Any], reply: object) -> None:
    if answer.done():
        # Its task was cancelled.
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


class LoopClient(NamedTuple):
    """The client of a loop, and the generator that closes it."""

    client: PipelinedClient
    lifetime: AsyncGenerator[PipelinedClient]


class LoopClients:
    """The clients of all event loops of a process.

    A loop that `asyncio.run` ends closes its client first, as it does with every asynchronous generator
    that is not finished. Of a loop that is closed by hand the connections go to the garbage collector,
    no later than another loop asks for a client.
    """

    def __init__(self, make: Callable[[], redis.asyncio.Redis]) -> None:
        """`make` gives a client that is not connected yet."""
        self._make = make
        self._opened: dict[asyncio.AbstractEventLoop, LoopClient] = {}

    async def for_running_loop(self) -> PipelinedClient:
        """The client of the loop that runs."""
        opened = self._opened.get(asyncio.get_running_loop())
        return opened.client if opened else await self._open()

    async def close(self) -> None:
        """Close the client of the loop that runs, if it has one."""
        opened = self._opened.get(asyncio.get_running_loop())
        if opened:
            await opened.lifetime.aclose()

    async def _open(self) -> PipelinedClient:
        for loop in list(self._opened):
            if loop.is_closed():
                self._opened.pop(loop, None)
        life = self._client_lifetime()
        client = await anext(life)
        self._opened[asyncio.get_running_loop()] = LoopClient(client, life)
        return client

    async def _client_lifetime(self) -> AsyncGenerator[PipelinedClient]:
        client = self._make()
        try:
            yield PipelinedClient(client)
        finally:
            self._opened.pop(asyncio.get_running_loop(), None)
            await client.aclose()
