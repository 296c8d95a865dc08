"""The async producer: one event loop, which nothing blocks, and nothing left when it is closed.

What it has in common with the other one is tested in test_accepting.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orderworks.core import keys
from orderworks.core.errors import ConfigurationError, InvalidUpdate, PartlyAccepted, Unavailable
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.imports.spool import Spool
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from producer import AsyncProducer
from tests.support.processes import eventually


async def some(count: int) -> AsyncIterator[OrderUpdate]:
    """Yield an update for each of `count` orders."""
    for key in range(1, count + 1):
        yield OrderUpdate(order_id=key, total=key)


def lengths(updates: UpdateStream) -> list[int]:
    return [updates.length(shard) for shard in range(updates.shards)]


def test_an_async_iterable_is_accepted_in_order(settings: Settings, stream: Redis) -> None:
    async def send() -> int:
        async with AsyncProducer.from_settings() as producer:
            return await producer.update_many(some(2500))

    assert asyncio.run(send()) == 2500
    for shard in (0, 1):
        entries = stream.xrange(keys.update_stream(shard))
        assert entries
        found = [OrderUpdate.decode(fields[b"update"]).order_id for _, fields in entries if fields]
        assert found == [key for key in range(1, 2501) if key % 2 == shard]


def test_failing_async_iterable_reports_accepted_count(
    settings: Settings, updates: UpdateStream
) -> None:
    async def failing(count: int) -> AsyncIterator[OrderUpdate]:
        async for update in some(count):
            yield update
        raise LookupError("no more")

    async def send(count: int) -> None:
        async with AsyncProducer.from_settings() as producer:
            await producer.update_many(failing(count))

    with pytest.raises(PartlyAccepted, match="no more") as stopped:
        asyncio.run(send(1500))
    assert stopped.value.accepted == 1500 == sum(lengths(updates))
    with pytest.raises(LookupError):
        asyncio.run(send(0))


def test_non_update_is_refused_before_sending(settings: Settings, updates: UpdateStream) -> None:
    async def send() -> None:
        async with AsyncProducer.from_settings() as producer:
            with pytest.raises(InvalidUpdate, match="dict is not an OrderUpdate"):
                await producer.update({"order_id": 1})  # type: ignore[call-overload]
            with pytest.raises(InvalidUpdate):
                await producer.update_many(["x"])  # type: ignore[list-item]

    asyncio.run(send())
    assert lengths(updates) == [0, 0]


def test_concurrent_calls_share_64_connections(
    settings: Settings, stream: Redis, updates: UpdateStream
) -> None:
    async def send() -> int:
        async with AsyncProducer.from_settings() as producer:
            await asyncio.gather(*[producer.update(update) async for update in some(500)])
            return len(stream.client_list())

    before = len(stream.client_list())
    during = asyncio.run(send())
    assert sum(lengths(updates)) == 500
    nudging = 2
    assert 1 < during - before <= 64 + nudging


def test_producer_is_bound_to_the_first_event_loop_using_it(settings: Settings) -> None:
    producer = AsyncProducer.from_settings()

    async def send() -> None:
        await producer.update(OrderUpdate(order_id=1, total=1))

    with asyncio.Runner() as first:
        first.run(send())
        with pytest.raises(ConfigurationError, match="make one in each loop"):
            asyncio.run(send())
        first.run(send())
        first.run(producer.close())


def test_accepted_work_raises_nothing_if_the_broker_cannot_be_used(
    settings: Settings, updates: UpdateStream, caplog: pytest.LogCaptureFixture
) -> None:
    async def send() -> str:
        async with AsyncProducer(broker_url="redis://127.0.0.1:1/no-number") as producer:
            await producer.update(OrderUpdate(order_id=2, total=1))
            return (await producer.import_file(b"id,customer_id,total\n1,1,5\n")).id

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(send()) in Spool(settings.spool).list_waiting()
    assert caplog.text.count("nudge_deferred to=sweep") == 2
    assert lengths(updates) == [1, 0]


@pytest.mark.slow
def test_unresponsive_broker_does_not_block_the_event_loop(
    settings: Settings, silent_server: str, updates: UpdateStream, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def send() -> None:
        ticking = asyncio.create_task(tick())
        async with AsyncProducer(broker_url=silent_server) as producer:
            await producer.update(OrderUpdate(order_id=2, total=1))
        ticking.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(send())
    assert "nudge_deferred to=sweep" in caplog.text, "the nudge took as long as it may"
    assert ticks > 20
    assert lengths(updates) == [1, 0]


def test_cancelled_call_leaves_the_producer_usable(
    settings: Settings, stream: Redis, updates: UpdateStream
) -> None:
    async def send() -> None:
        async with AsyncProducer.from_settings() as producer:
            await producer.update(OrderUpdate(order_id=2, total=1))
            stream.client_pause(1000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await producer.update(OrderUpdate(order_id=2, total=1))
            for _ in range(70):
                await producer.update(OrderUpdate(order_id=4, total=1))

    asyncio.run(send())
    assert lengths(updates)[0] in {71, 72}, "the cancelled one may have been accepted"


def test_unresponsive_server_raises_unavailable_in_time(
    settings: Settings, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_TIMEOUT", "0.5")

    async def send() -> None:
        async with AsyncProducer(redis_url=silent_server) as producer:
            calls = [producer.update(update) async for update in some(100)]
            failures = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(failure) for failure in failures} == {Unavailable}

    asyncio.run(asyncio.wait_for(send(), 5))


def test_connection_closed_by_the_server_is_replaced(
    settings: Settings, stream: Redis, updates: UpdateStream
) -> None:
    async def send() -> None:
        async with AsyncProducer.from_settings() as producer:
            await producer.update(OrderUpdate(order_id=2, total=1))
            assert stream.client_kill_filter(_type="normal", skipme=True) >= 1
            eventually(lambda: len(stream.client_list()) == 1, 5, "connections are left")
            # The loop is notified in its next iteration, and calls back in the one after that.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await producer.update(OrderUpdate(order_id=4, total=1))

    asyncio.run(send())
    assert lengths(updates) == [2, 0]


def test_files_are_accepted_without_blocking_the_event_loop(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "customers.csv"
    file.write_text("id,name\n1,Ada\n")

    async def send() -> list[bool]:
        async with AsyncProducer.from_settings() as producer:
            jobs = [await producer.import_file(file, kind="customers") for _ in range(2)]
            return [job.repeated for job in jobs]

    assert asyncio.run(send()) == [False, True]
    assert len(list((settings.orderworks_home / "spool" / "data").iterdir())) == 1
