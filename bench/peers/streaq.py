"""streaQ: Redis streams, acknowledged after the task."""

import asyncio
import os

from streaq import Worker

from bench.peers import async_job
from bench.peers.sending import send_each_async

worker = Worker(redis_url=os.environ["QUEUE_URL"], concurrency=50)
update = worker.task(ttl=0, silent=True, name="update")(async_job.update)


async def main() -> None:
    """Send the updates of the file; results are not stored."""
    async with worker:

        async def send(order_id: int, total: str, version: int) -> None:
            await update.enqueue(order_id, total, version)

        await send_each_async(send)


if __name__ == "__main__":
    asyncio.run(main())
