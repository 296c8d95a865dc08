"""Concurrent commands of tasks to the cache: one round trip, and each task gets its own reply."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import redis

from orderworks.cache.event_loops import PipelinedClient
from orderworks.core.redis import Redis, make_async_redis
from orderworks.core.settings import Settings
from tests.support.processes import eventually
from tests.support.tcp_proxy import link_to

T = TypeVar("T")

TASKS = 50


def run_commands(
    url: str, commands: Callable[[PipelinedClient], Awaitable[T]], timeout: float = 5
) -> T:
    """Run tasks in an event loop of their own; return what they return."""

    async def run() -> T:
        async with make_async_redis(url, timeout) as client:
            return await commands(PipelinedClient(client))

    return asyncio.run(run())


def test_concurrent_commands_share_one_connection(settings: Settings) -> None:
    async def commands(client: PipelinedClient) -> set[int]:
        numbers = [client.execute_command("CLIENT", "ID") for _task in range(TASKS)]
        return {*await asyncio.gather(*numbers)}

    assert len(run_commands(settings.cache, commands)) == 1


def test_each_command_gets_its_own_reply_or_error(settings: Settings, cache: Redis) -> None:
    cache.mset({str(number): number for number in range(TASKS)})

    async def commands(client: PipelinedClient) -> list[object]:
        reads = [client.execute_command("GET", number) for number in range(TASKS)]
        wrong = client.execute_command("HGET", 0, "field")
        return [*await asyncio.gather(*reads[:9], wrong, *reads[9:], return_exceptions=True)]

    found = run_commands(settings.cache, commands)
    assert isinstance(found.pop(9), redis.ResponseError)
    assert found == [b"%d" % number for number in range(TASKS)]


def test_cancelled_command_does_not_affect_the_others(settings: Settings) -> None:
    async def commands(client: PipelinedClient) -> list[object]:
        tasks = [asyncio.ensure_future(client.execute_command("PING")) for _task in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        answers = [*await asyncio.gather(*tasks, return_exceptions=True)]
        return [*answers, await client.execute_command("ECHO", "next")]

    first, cancelled, third, after = run_commands(settings.cache, commands)
    assert (first, third, after) == (b"PONG", b"PONG", b"next")
    assert isinstance(cancelled, asyncio.CancelledError)


def test_lost_connection_fails_all_pending_commands_and_the_next_succeeds(
    settings: Settings,
) -> None:
    async def commands(client: PipelinedClient) -> list[object]:
        await client.execute_command("PING")
        link.lose_answers()
        together = [client.execute_command("ECHO", "lost") for _task in range(3)]
        lost = await asyncio.gather(*together, return_exceptions=True)
        return [*lost, await client.execute_command("ECHO", "next")]

    with link_to(settings.cache) as link:
        *lost, after = run_commands(link.url, commands)
    assert after == b"next"
    assert all(isinstance(each, redis.ConnectionError) for each in lost)


def test_connection_closed_by_the_server_is_replaced_without_error(
    settings: Settings, cache: Redis
) -> None:
    async def commands(client: PipelinedClient) -> tuple[int, object]:
        old = await client.execute_command("CLIENT", "ID")
        cache.client_kill_filter(_id=old)
        eventually(lambda: old not in ids(cache), 5, "it is not closed")
        # The loop is notified in its next iteration, and calls back in the one after that.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return old, await client.execute_command("CLIENT", "ID")

    old, new = run_commands(settings.cache, commands)
    assert new != old


def ids(cache: Redis) -> set[int]:
    """The connections of the server."""
    return {int(each["id"]) for each in cache.client_list()}


def test_concurrent_commands_time_out_after_one_timeout(settings: Settings, cache: Redis) -> None:
    async def commands(client: PipelinedClient) -> None:
        slow = [client.execute_command("BLPOP", "nothing", 0) for _task in range(3)]
        started = asyncio.get_running_loop().time()
        for each in await asyncio.gather(*slow, return_exceptions=True):
            assert isinstance(each, redis.TimeoutError)
        assert asyncio.get_running_loop().time() - started < 2
        assert await client.execute_command("PING") == b"PONG"

    run_commands(settings.cache, commands, timeout=0.5)


@pytest.mark.parametrize("count", [1, 3])
def test_unavailable_server_fails_every_command(count: int) -> None:
    async def commands(client: PipelinedClient) -> list[object]:
        asking = [client.execute_command("PING") for _task in range(count)]
        return [*await asyncio.gather(*asking, return_exceptions=True)]

    found = run_commands("redis://127.0.0.1:1/0", commands)
    assert [type(each) for each in found] == [redis.ConnectionError] * count
