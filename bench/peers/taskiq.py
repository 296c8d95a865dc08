"""taskiq on a Redis stream, the one of its Redis brokers that acknowledges, after the task.

Its task is a function in a pool of threads; a coroutine was not faster.
"""

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from bench.peers import job
from bench.peers.sending import send_each_async

# From the stream's beginning: otherwise its group receives only entries after the workers' start.
broker = RedisStreamBroker(os.environ["QUEUE_URL"], consumer_id="0")
update = broker.task(task_name="update")(job.update)


async def main() -> None:
    """Send the updates of the file."""
    await broker.startup()
    await send_each_async(update.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
