"""The gateway with a probe of its event loop: `GET /longest-block` returns its longest block.

`python -m bench.gateway.probed_app PORT`
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.gateway.app import app_of_environment
from orderworks_app.gateway.server import run

TICK = 0.001
"""Seconds between two reads of the clocks."""


class LoopProbe:
    """The longest time in which the event loop did not return to the probe.

    Attributes:
        wall: seconds of the clock, in which other processes may have had the processor.
        cpu: seconds of the processor that the loop's thread used.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    async def watch(self) -> None:
        """Compare the clocks after each tick, without end."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self.wall = max(self.wall, time.perf_counter() - wall - TICK)
            self.cpu = max(self.cpu, time.thread_time() - cpu)

    def longest(self) -> dict[str, float]:
        """Return both figures in milliseconds, and begin again."""
        figures = {"wall_ms": 1000 * self.wall, "cpu_ms": 1000 * self.cpu}
        self.wall = self.cpu = 0.0
        return figures


def make_app() -> FastAPI:
    """Return the gateway's application with the probe."""
    app, probe = app_of_environment(), LoopProbe()
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def watched(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            task = asyncio.create_task(probe.watch())
            yield state
            task.cancel()

    app.router.lifespan_context = watched
    app.add_api_route("/longest-block", probe.longest)
    return app


if __name__ == "__main__":
    run("bench.gateway.probed_app:make_app", LOOPBACK, int(sys.argv[1]), workers=1)
