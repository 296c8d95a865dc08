"""Connections to the server of the update stream for one event loop. What `lines` is for threads."""

import asyncio
import time
from typing import Any, TypeAlias

import redis
import redis.asyncio

from orderworks.core.errors import ConfigurationError
from producer.effects import Answers, Ask

MOST = 64
"""Connections at a time; more calls wait for one of them. A loop is busy with fewer, but calls that
are durable hold theirs until the server has synced its file."""

AsyncLine: TypeAlias = Any
"""A `redis.asyncio.Connection`, whose methods have no types."""


class AsyncLines:
    """Opens connections as they are needed, `MOST` at the most.

    It belongs to the event loop that uses it first.
    """

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`client` says how to connect; its own connections are not used. `timeout` is in seconds."""
        self._pool = client.connection_pool
        self._timeout = timeout
        self._idle: list[AsyncLine] = []
        self._places = asyncio.Semaphore(MOST)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def ask(
        self, question: Ask, kept: AsyncLine | None = None
    ) -> tuple[Answers, AsyncLine | None]:
        """Carry out a question over `kept`, or any connection; the answers, and what is kept.

        A connection that was lost is never used again, nor one whose answers were not all read.

        Raises:
            ConfigurationError: this is not the event loop that it belongs to.
        """
        self._refuse_other_loops()
        if kept is None:
            try:
                kept = await self._take()
            except redis.RedisError as error:
                return Answers([], error, sent=False), None
        try:
            answers = await _exchange(kept, question)
        except BaseException:
            await self.drop(kept)
            raise
        if question.keep and not answers.lost:
            return answers, kept
        await (self.drop(kept) if answers.lost else self._put_back(kept))
        return answers, None

    async def drop(self, kept: AsyncLine) -> None:
        """Give up a connection."""
        self._places.release()
        await kept.disconnect(nowait=True)

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

    async def _take(self) -> AsyncLine:
        """A connection over which nothing is on its way.

        Raises:
            redis.RedisError: the server cannot be reached, or no connection was free in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._places.acquire()
        except TimeoutError:
            raise redis.TimeoutError(
                f"too many calls at a time: none of {MOST} connections was free in {self._timeout:g} s"
            ) from None
        try:
            return await self._reuse() or await self._connect()
        except BaseException:
            self._places.release()
            raise

    async def _reuse(self) -> AsyncLine | None:
        while self._idle:
            line = self._idle.pop()
            if await _is_usable(line):
                return line
            # As in `lines`: the others are probably lost too.
            await line.disconnect(nowait=True)
            await self._drop_idle()
        return None

    async def _connect(self) -> AsyncLine:
        line: AsyncLine = self._pool.connection_class(**self._pool.connection_kwargs)
        await line.connect()
        return line

    async def _put_back(self, line: AsyncLine) -> None:
        self._places.release()
        self._idle.append(line)
        if self._closed:
            await self._drop_idle()

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            await line.disconnect()


async def _is_usable(line: AsyncLine) -> bool:
    """Whether the server has neither closed it nor, where it was idle for long, lost it."""
    try:
        if await line.can_read():
            return False
        await line.check_health()
    except (redis.RedisError, OSError):
        return False
    return True


async def _exchange(line: AsyncLine, question: Ask) -> Answers:
    """Send and read. Whoever called drops the connection unless all answers came."""
    given: list[Any] = []
    try:
        if question.commands:
            await line.send_packed_command(question.commands, check_health=False)
        deadline = question.patience and time.monotonic() + question.patience
        while len(given) < question.answers:
            given.append(await _read(line, deadline))
    except redis.RedisError as error:
        return Answers(given, error)
    return Answers(given)


async def _read(line: AsyncLine, deadline: float | None) -> object:
    """An answer of the server, which may be its error."""
    left = max(deadline - time.monotonic(), 0.001) if deadline else None
    try:
        return await line.read_response(timeout=left)
    except redis.ResponseError as error:
        return error
