"""A client for the tasks of one event loop: what they ask at the same time travels in one pipeline."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio

Asked = tuple[tuple[Any, ...], asyncio.Future[Any]]
"""A command, and the answer that a task waits for."""


class Pipelined:
    """Commands of all tasks that ask in one turn of the loop go in one round trip.

    A gateway's requests come in bunches; a connection and a round trip for each of them would cost
    several times what the commands do. A task that is cancelled takes nothing away from the others.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """The client stays its owner's."""
        self._client = client
        self._asked: list[Asked] = []
        self._trips: set[asyncio.Task[None]] = set()

    async def execute_command(self, *command: Any) -> Any:  # noqa: ANN401 - whatever commands take
        """The answer.

        Raises:
            redis.RedisError: the server refuses the command, or cannot be asked.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._asked.append((command, answer))
        if len(self._asked) == 1:
            trip = loop.create_task(self._travel())
            self._trips.add(trip)
            trip.add_done_callback(self._trips.discard)
        return await answer

    async def _travel(self) -> None:
        """Send all that was asked until this task had its turn, and hand out the answers."""
        asked, self._asked = self._asked, []
        try:
            answers = await self._answers([command for command, _ in asked])
        except redis.RedisError as error:
            answers = [error] * len(asked)
        except BaseException:
            for _, answer in asked:
                answer.cancel()
            raise
        for (_, answer), given in zip(asked, answers, strict=True):
            _hand_out(answer, given)

    async def _answers(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """An answer or an error for each command."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # One limit for all: one for each answer, as a pipeline has it, costs as much again.
            async with asyncio.timeout(connection.socket_timeout):
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _answer(connection) for _ in commands]
        except TimeoutError:
            raise redis.TimeoutError("the server did not answer in time") from None
        finally:
            await pool.release(connection)


async def _answer(connection: Any) -> Any:  # noqa: ANN401 - whatever the server says
    """What the server says next. If this is interrupted, the connection is closed."""
    try:
        return await connection.read_response(timeout=math.inf)
    except redis.ResponseError as error:
        return error


def _hand_out(answer: asyncio.Future[Any], given: object) -> None:
    if answer.done():
        # Its task was cancelled.
        return
    if isinstance(given, Exception):
        answer.set_exception(given)
    else:
        answer.set_result(given)
