"""Addresses of Redis servers."""

import asyncio
from pathlib import Path

import pytest
import redis

from orderworks.core.redis import make_async_redis, make_redis


def test_unix_socket_path_is_taken_from_the_address(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/redis.sock"
    with make_redis(url, 1) as client, pytest.raises(redis.ConnectionError, match=r"redis\.sock"):
        client.ping()


def test_async_client_takes_unix_socket_path_from_the_address(tmp_path: Path) -> None:
    async def ping() -> None:
        async with make_async_redis(f"unix://{tmp_path}/redis.sock", 1) as client:
            await client.ping()

    with pytest.raises(redis.ConnectionError, match=r"redis\.sock"):
        asyncio.run(ping())
