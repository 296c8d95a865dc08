"""A client for each event loop, because connections belong to one; it ends with its loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

import redis.asyncio

from orderworks.cache.pipelined import Pipelined


class Opened(NamedTuple):
    """The client of a loop, and the generator that closes it."""

    client: Pipelined
    life: AsyncGenerator[Pipelined]


class LoopClients:
    """The clients of all event loops of a process.

    A loop that `asyncio.run` ends closes its client first, as it does with every asynchronous generator
    that is not finished. Of a loop that is closed by hand the connections go to the garbage collector,
    no later than another loop asks for a client.
    """

    def __init__(self, make: Callable[[], redis.asyncio.Redis]) -> None:
        """`make` gives a client that is not connected yet."""
        self._make = make
        self._opened: dict[asyncio.AbstractEventLoop, Opened] = {}

    async def of_this_loop(self) -> Pipelined:
        """The client of the loop that runs."""
        opened = self._opened.get(asyncio.get_running_loop())
        return opened.client if opened else await self._open()

    async def close(self) -> None:
        """Close the client of the loop that runs, if it has one."""
        opened = self._opened.get(asyncio.get_running_loop())
        if opened:
            await opened.life.aclose()

    async def _open(self) -> Pipelined:
        for loop in list(self._opened):
            if loop.is_closed():
                self._opened.pop(loop, None)
        life = self._live()
        client = await anext(life)
        self._opened[asyncio.get_running_loop()] = Opened(client, life)
        return client

    async def _live(self) -> AsyncGenerator[Pipelined]:
        client = self._make()
        try:
            yield Pipelined(client)
        finally:
            self._opened.pop(asyncio.get_running_loop(), None)
            await client.aclose()
