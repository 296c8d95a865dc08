"""Where a Redis server may be."""

import asyncio
from pathlib import Path

import pytest
import redis

from orderworks.core.redis import make_async_redis, make_redis


def test_a_socket_of_unix_is_looked_for_where_the_address_says(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/redis.sock"
    with make_redis(url, 1) as client, pytest.raises(redis.ConnectionError, match=r"redis\.sock"):
        client.ping()


def test_an_event_loop_looks_for_it_there_too(tmp_path: Path) -> None:
    async def ping() -> None:
        async with make_async_redis(f"unix://{tmp_path}/redis.sock", 1) as client:
            await client.ping()

    with pytest.raises(redis.ConnectionError, match=r"redis\.sock"):
        asyncio.run(ping())
