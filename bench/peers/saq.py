"""SAQ on Redis: a job remains in the list of active jobs until it has run."""

import asyncio
import os
from typing import Any

from saq import Queue

from bench.peers import async_job
from bench.peers.sending import send_each_async

queue = Queue.from_url(os.environ["QUEUE_URL"])


async def update(_: Any, *, order_id: int, total: str, version: int) -> None:  # noqa: ANN401
    """The task."""
    await async_job.update(order_id, total, version)


settings = {"queue": queue, "functions": [update], "concurrency": 50}


async def main() -> None:
    """Send the updates of the file; results are not stored."""
    await queue.connect()

    async def send(order_id: int, total: str, version: int) -> None:
        await queue.enqueue("update", order_id=order_id, total=total, version=version, ttl=-1)

    await send_each_async(send)
    await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
