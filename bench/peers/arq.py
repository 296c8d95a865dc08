"""arq: a job is deleted from Redis after it has run; two workers poll as often as settings allow."""

import asyncio
import os

from arq import create_pool, func
from arq.connections import RedisSettings

from bench.peers import async_job
from bench.peers.sending import send_each_async

LOGS = {"version": 1}
"""A logging configuration that writes no line per job."""

SERVER = RedisSettings.from_dsn(os.environ["QUEUE_URL"])


async def apply(_: object, order_id: int, total: str, version: int) -> None:
    """The task."""
    await async_job.update(order_id, total, version)


class Worker:
    """Settings of arq's workers."""

    functions = (func(apply, name="update", keep_result=0),)
    redis_settings = SERVER
    max_jobs = 50
    poll_delay = 0.01
    log_results = False


async def main() -> None:
    """Send the updates of the file."""
    pool = await create_pool(SERVER)

    async def send(order_id: int, total: str, version: int) -> None:
        await pool.enqueue_job("update", order_id, total, version)

    await send_each_async(send)
    await pool.aclose()


if __name__ == "__main__":
    asyncio.run(main())
