"""Procrastinate: the queue is a table, in a database of its own on the same PostgreSQL."""

import asyncio
import os

from procrastinate import App, PsycopgConnector

from bench.peers import async_job
from bench.peers.sending import send_each_async

app = App(connector=PsycopgConnector(conninfo=os.environ["QUEUE_DATABASE_URL"]))
update = app.task(name="update")(async_job.update)


async def main() -> None:
    """Create the tables if they do not exist, then send the updates of the file."""
    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()

        async def send(order_id: int, total: str, version: int) -> None:
            await update.defer_async(order_id=order_id, total=total, version=version)

        await send_each_async(send)


if __name__ == "__main__":
    asyncio.run(main())
