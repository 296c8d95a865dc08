"""Killed and frozen producers, and a frozen server: acknowledged updates are accepted once."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orderworks.core import keys
from orderworks.core.errors import PartlyAccepted, Unavailable, WaitTimeout
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from producer import AsyncProducer, Producer
from tests.support.processes import ROOT, eventually, frozen
from tests.support.servers import Valkey, running_valkey

TIMEOUT = 0.5
"""Seconds that a producer waits for a reply in these tests."""

SENDING = """
import sys
from producer import OrderUpdate, Producer

def updates():
    for key in range(1, int(sys.argv[1]) + 1):
        if key % 1000 == 1:
            # All before this one are accepted: nothing is taken from here before that.
            print(key - 1, flush=True)
        yield OrderUpdate(order_id=key, total=1)

with Producer.from_settings() as producer:
    print(producer.update_many(updates()), flush=True)
"""


@contextmanager
def sending(count: int) -> Iterator[subprocess.Popen[str]]:
    """A process that sends updates, and prints the number of acknowledged ones."""
    process = subprocess.Popen(
        [sys.executable, "-c", SENDING, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def said_more_than(process: subprocess.Popen[str], count: int) -> int:
    """Wait until the process has printed more than `more_than`; return the number."""
    assert process.stdout
    for line in process.stdout:
        if int(line) > count:
            return int(line)
    raise AssertionError("it ended before that")


def accepted(stream: Redis) -> Counter[int]:
    """Count the entries of each order in the stream."""
    shards: list[Any] = [stream.xrange(keys.update_stream(shard)) for shard in (0, 1)]
    entries = [fields[b"update"] for entries in shards for _, fields in entries]
    return Counter(OrderUpdate.decode(update).order_id for update in entries)


def test_acknowledged_updates_survive_producer_kill_exactly_once(
    settings: Settings, stream: Redis
) -> None:
    with sending(10_000_000) as process:
        said = said_more_than(process, 20_000)
        process.kill()
        assert process.stdout
        last_said = int([str(said), *process.stdout.read().splitlines()][-1])
    held = accepted(stream)
    assert set(held.values()) == {1}
    assert held.keys() >= set(range(1, last_said + 1))
    assert last_said <= len(held) <= last_said + 1000, "no more than the chunk that was being sent"


def test_frozen_producer_resumes_without_loss_or_duplicates(
    settings: Settings, stream: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_TIMEOUT", str(TIMEOUT))
    count = 100_000
    with sending(count) as process:
        said_more_than(process, 20_000)
        with frozen(process.pid):
            thawed = time.monotonic() + 3 * TIMEOUT
            eventually(lambda: time.monotonic() > thawed, 10)
            assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
            assert len(accepted(stream)) < count
        assert said_more_than(process, count - 1) == count
    assert accepted(stream) == Counter(range(1, count + 1))


@pytest.fixture
def own_stream(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Valkey]:
    """A server for the stream, for this test only, whose producers have a short timeout."""
    with running_valkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        monkeypatch.setenv("REDIS_TIMEOUT", str(TIMEOUT))
        yield server


def of_order(key: int, version: int | None = None) -> OrderUpdate:
    return OrderUpdate(order_id=key, total=1, version=version)


CALLS: dict[str, tuple[type[Exception], Callable[[Producer], object]]] = {
    "update": (Unavailable, lambda producer: producer.update(of_order(2))),
    "with a version": (Unavailable, lambda producer: producer.update(of_order(4, 7))),
    "durable": (Unavailable, lambda producer: producer.update(of_order(6), durable=True)),
    "waiting": (Unavailable, lambda producer: producer.update(of_order(8), wait_for_room=60)),
    "many": (PartlyAccepted, lambda producer: producer.update_many([of_order(1), of_order(10)])),
}


def test_calls_to_frozen_server_time_out_and_send_nothing_twice(own_stream: Valkey) -> None:
    with Producer.from_settings() as producer, make_redis(own_stream.url, timeout=5) as stream:
        producer.update(of_order(100), durable=True)
        with frozen(own_stream.process.pid):
            for failure, call in CALLS.values():
                began = time.monotonic()
                with pytest.raises(failure):
                    call(producer)
                assert time.monotonic() - began < 2 * TIMEOUT + 1
        producer.update(of_order(102))
        held = accepted(stream)
    assert set(held.values()) == {1}
    assert held.keys() >= {2, 100, 102}, "the first was sent before; the others were not sent"


def test_concurrent_async_calls_to_frozen_server_time_out_together(own_stream: Valkey) -> None:
    async def send() -> None:
        async with AsyncProducer.from_settings() as producer:
            await producer.update(of_order(100))
            with frozen(own_stream.process.pid):
                began = time.monotonic()
                calls = [producer.update(of_order(key)) for key in range(2, 200, 2)]
                failures = await asyncio.gather(*calls, return_exceptions=True)
                assert {type(failure) for failure in failures} == {Unavailable}
                assert time.monotonic() - began < 3 * TIMEOUT + 1
            await producer.update(of_order(102))

    asyncio.run(send())


def test_verdict_wait_times_out_when_server_is_frozen(own_stream: Valkey) -> None:
    with Producer.from_settings() as producer:
        receipt = producer.update(of_order(2), track=True)
        with frozen(own_stream.process.pid):
            began = time.monotonic()
            with pytest.raises(WaitTimeout):
                receipt.wait(TIMEOUT)
            assert time.monotonic() - began < 4 * TIMEOUT + 1
