"""Appends of updates by both producers: full streams, durability, forks, lost connections."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orderworks.core import keys
from orderworks.core.errors import (
    Backpressure,
    ConfigurationError,
    NotDurable,
    PartlyAccepted,
    Unavailable,
)
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from producer import Producer
from tests.support.processes import ROOT, eventually
from tests.support.producers import DOORS, ProducerClient
from tests.support.servers import running_valkey
from tests.support.tcp_proxy import TcpProxy, link_to

LIMIT = 1000


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the smallest limit of a stream."""
    monkeypatch.setenv("STREAM_LIMIT", str(LIMIT))


@pytest.fixture
def stream_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """A proxy before the server of the stream."""
    with link_to(settings.stream) as made:
        monkeypatch.setenv("REDIS_URL", made.url)
        yield made


def some(first: int, last: int, version: int | None = None) -> list[OrderUpdate]:
    """Updates of these orders."""
    return [OrderUpdate(order_id=key, total=1, version=version) for key in range(first, last + 1)]


def entries(stream: Redis, shard: int) -> dict[str, int]:
    """Return the orders of a shard's entries, by entry id."""
    found: Any = stream.xrange(keys.update_stream(shard))
    return {
        entry_id.decode(): OrderUpdate.decode(fields[b"update"]).order_id
        for entry_id, fields in found
    }


def accepted_orders(stream: Redis) -> list[int]:
    """The orders of all entries, shard by shard."""
    return [order_id for shard in (0, 1) for order_id in entries(stream, shard).values()]


def scripts_run(stream: Redis) -> int:
    """Return the number of scripts that the server has run."""
    return int(stream.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_both_producers_accept_many_updates_in_order(client: ProducerClient, stream: Redis) -> None:
    assert client.update_many(iter(some(1, 2500))) == 2500
    assert accepted_orders(stream) == [*range(2, 2501, 2), *range(1, 2500, 2)]


def test_flushed_script_is_sent_again(client: ProducerClient, stream: Redis) -> None:
    client.update(OrderUpdate(order_id=2, total=1))
    stream.script_flush()
    client.update(OrderUpdate(order_id=4, total=1))
    stream.script_flush()
    client.update_many(some(5, 8))
    assert accepted_orders(stream) == [2, 4, 6, 8, 5, 7]


def test_a_full_stream_refuses_at_once_by_default(
    limited: None, client: ProducerClient, stream: Redis
) -> None:
    assert client.update_many(some(1, 2 * LIMIT)) == 2 * LIMIT
    with pytest.raises(Backpressure, match="shard 1 has 1000 waiting updates, its limit is 1000"):
        client.update(OrderUpdate(order_id=1, total=1))
    assert stream.xlen(keys.update_stream(1)) == LIMIT


def test_wait_for_room_ends_when_there_is_room(
    limited: None, client: ProducerClient, stream: Redis, updates: UpdateStream
) -> None:
    client.update_many(some(1, 2 * LIMIT))
    before = scripts_run(stream)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.update, OrderUpdate(order_id=2, total=1), wait_for_room=30)
        eventually(lambda: scripts_run(stream) > before + 3, 10, "it does not try again")
        assert not waiting.done()
        assert updates.length(0) == LIMIT
        stream.xtrim(keys.update_stream(0), maxlen=LIMIT - 1, approximate=False)
        assert waiting.result(timeout=10)
    assert updates.length(0) == LIMIT


def test_wait_for_room_times_out(limited: None, client: ProducerClient) -> None:
    client.update_many(some(1, 2 * LIMIT))
    began = time.monotonic()
    with pytest.raises(Backpressure):
        client.update(OrderUpdate(order_id=1, total=1), wait_for_room=0.3)
    with pytest.raises(PartlyAccepted) as stopped:
        client.update_many(some(1, 10), wait_for_room=0.3)
    assert 0.6 <= time.monotonic() - began < 5
    assert (stopped.value.accepted, stopped.value.refused) == (0, some(1, 10))


def test_updates_waiting_for_room_are_accepted_once_and_in_order(
    limited: None, client: ProducerClient, stream: Redis
) -> None:
    taken: list[int] = []
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(client.update_many, some(1, 10_000), wait_for_room=30)
        while not sending.done() or accepted_orders(stream):
            taken += take(stream, 0) + take(stream, 1)
        assert sending.result() == 10_000
    for shard in (0, 1):
        assert [key for key in taken if key % 2 == shard] == [
            key for key in range(1, 10_001) if key % 2 == shard
        ]


def take(stream: Redis, shard: int) -> list[int]:
    """Remove the entries as a drain does; check that the shard has at most its limit."""
    found = entries(stream, shard)
    assert len(found) <= LIMIT
    if found:
        stream.xdel(keys.update_stream(shard), *found)
    return list(found.values())


def test_four_producers_at_the_limit_get_exact_accepted_counts(
    limited: None, settings: Settings, stream: Redis
) -> None:
    def send(number: int) -> PartlyAccepted:
        first = number * 10_000 + 1
        with DOORS["Producer" if number % 2 else "AsyncProducer"]().closing() as client:
            with pytest.raises(PartlyAccepted) as stopped:
                client.update_many(some(first, first + 4000))
            return stopped.value

    with ThreadPoolExecutor(4) as threads:
        stops = list(threads.map(send, range(4)))
    assert all(isinstance(stop.__cause__, Backpressure) and not stop.uncertain for stop in stops)
    held = accepted_orders(stream)
    assert len(held) == len(set(held)) == sum(stop.accepted for stop in stops)
    for shard in (0, 1):
        assert LIMIT // 2 <= stream.xlen(keys.update_stream(shard)) <= LIMIT


def test_durable_updates_are_accepted(client: ProducerClient, stream: Redis) -> None:
    client.update(OrderUpdate(order_id=2, total=1), durable=True)
    assert client.update_many(some(3, 1500), durable=True) == 1498
    assert sorted(accepted_orders(stream)) == list(range(2, 1501))


def test_durable_updates_are_in_the_file_of_a_server_killed_at_their_return(
    tmp_path: Path, settings: Settings
) -> None:
    with (
        running_valkey(tmp_path / "server") as server,
        Producer(redis_url=server.url, broker_url=settings.broker, spool_url=settings.spool) as own,
    ):
        for order_id in range(2, 42, 2):
            own.update(OrderUpdate(order_id=order_id, total=1), durable=True)
            written = b"".join(file.read_bytes() for file in server.folder.rglob("*.aof"))
            assert b'"order_id":%d,' % order_id in written
        server.kill()
        server.start()
        with make_redis(server.url, timeout=5) as client:
            assert accepted_orders(client) == list(range(2, 42, 2))


def test_server_without_fsync_raises_not_durable_for_accepted_updates(
    client: ProducerClient,
    stream: Redis,
    monkeypatch: pytest.MonkeyPatch,
    short_timeout_producer: ProducerClient,
) -> None:
    stream.config_set("appendfsync", "no")
    try:
        with pytest.raises(
            NotDurable, match="1 updates are accepted, but may not be on disk"
        ) as unsaved:
            short_timeout_producer.update(OrderUpdate(order_id=2, total=1), durable=True)
        with pytest.raises(PartlyAccepted) as stopped:
            short_timeout_producer.update_many(some(3, 4), durable=True)
    finally:
        stream.config_set("appendfsync", "everysec")
    assert unsaved.value.entries == list(entries(stream, 0))[:1]
    assert (stopped.value.accepted, stopped.value.uncertain) == (2, [])
    assert isinstance(stopped.value.__cause__, NotDurable)
    assert len(stopped.value.__cause__.entries) == 2
    assert accepted_orders(stream) == [2, 4, 3]


@pytest.fixture
def short_timeout_producer(
    client: ProducerClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProducerClient]:
    """The same producer with a shorter timeout."""
    monkeypatch.setenv("REDIS_TIMEOUT", "0.5")
    made = type(client)()
    yield made
    made.close()


def test_durable_update_to_server_without_aof_is_a_configuration_error(
    settings: Settings, client: ProducerClient, stream: Redis
) -> None:
    stream.config_set("appendonly", "no")
    try:
        with pytest.raises(ConfigurationError, match="set `appendonly yes`"):
            client.update(OrderUpdate(order_id=2, total=1), durable=True)
        with pytest.raises(ConfigurationError):
            client.update_many(some(1, 4), durable=True)
        assert not accepted_orders(stream)
    finally:
        stream.config_set("appendonly", "yes")
        rewritten = "aof_rewrite_in_progress"
        eventually(lambda: not stream.info("persistence")[rewritten], 10, "it rewrites its file")


def test_connection_failing_before_send_is_retried(
    stream_proxy: TcpProxy, client: ProducerClient, stream: Redis
) -> None:
    stream_proxy.refuse_connections()
    client.update(OrderUpdate(order_id=2, total=1))
    assert stream_proxy.refused == 1
    assert accepted_orders(stream) == [2]


def test_versioned_update_is_sent_again_after_a_lost_reply(
    stream_proxy: TcpProxy, client: ProducerClient, stream: Redis
) -> None:
    client.update(OrderUpdate(order_id=2, total=1))
    stream_proxy.lose_answers()
    entry = client.update(OrderUpdate(order_id=4, total=1, version=7))
    assert stream_proxy.lost == 1
    assert accepted_orders(stream) == [2, 4, 4]
    assert list(entries(stream, 0))[-1] == entry


def test_update_without_version_is_not_sent_again_after_a_lost_reply(
    stream_proxy: TcpProxy, client: ProducerClient, stream: Redis
) -> None:
    client.update(OrderUpdate(order_id=2, total=1))
    stream_proxy.lose_answers()
    with pytest.raises(Unavailable):
        client.update(OrderUpdate(order_id=4, total=1), wait_for_room=5)
    assert stream_proxy.lost == 1
    assert accepted_orders(stream) == [2, 4]


def test_updates_without_versions_are_uncertain_after_a_lost_reply(
    stream_proxy: TcpProxy, client: ProducerClient, stream: Redis
) -> None:
    client.update(OrderUpdate(order_id=2, total=1))
    stream_proxy.lose_answers()
    versioned, plain = some(10, 18, version=7)[::2], some(11, 19)[::2]
    with pytest.raises(PartlyAccepted) as stopped:
        client.update_many([*versioned, *plain])
    assert stream_proxy.lost == 1
    assert (stopped.value.accepted, stopped.value.refused) == (5, [])
    assert stopped.value.uncertain == plain
    assert sorted(accepted_orders(stream)) == sorted([2, *range(10, 20), *range(10, 20, 2)])


FORKING = """
import os
from producer import OrderUpdate, Producer

def send(producer, first):
    for key in range(first, first + 300):
        producer.update(OrderUpdate(order_id=key, total=1))
    many = range(first + 300, first + 1000)
    return producer.update_many(OrderUpdate(order_id=key, total=1) for key in many)

with Producer.from_settings() as producer:
    producer.update(OrderUpdate(order_id=1, total=1))
    closing = os.fork()
    if closing == 0:
        producer.close()
        os._exit(0)
    assert os.waitpid(closing, 0)[1] == 0
    child = os.fork()
    if child == 0:
        os._exit(send(producer, 2000) != 700)
    assert send(producer, 1000) == 700
    assert os.waitpid(child, 0)[1] == 0
    producer.update(OrderUpdate(order_id=2, total=1))
"""


@pytest.mark.slow
def test_used_producer_works_in_a_forked_process(settings: Settings, stream: Redis) -> None:
    # Nudges are deleted periodically, so that both processes use the broker meanwhile.
    over = threading.Event()

    def drop_nudges() -> None:
        while not over.wait(0.01):
            stream.delete(keys.update_nudge(0), keys.update_nudge(1))

    dropping = threading.Thread(target=drop_nudges)
    dropping.start()
    try:
        forked = subprocess.run(
            [sys.executable, "-W", "error", "-c", FORKING],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        over.set()
        dropping.join()
    assert (forked.returncode, forked.stderr) == (0, "")
    assert sorted(accepted_orders(stream)) == [1, 2, *range(1000, 3000)]


def test_unused_producer_opens_no_connection(settings: Settings, stream: Redis) -> None:
    before = len(stream.client_list())
    made = [Producer.from_settings() for _ in range(20)]
    assert len(stream.client_list()) == before
    for each in made:
        each.close()


def test_sequential_calls_share_a_connection(client: ProducerClient, stream: Redis) -> None:
    before = int(stream.info("stats")["total_connections_received"])
    for _ in range(20):
        client.update(OrderUpdate(order_id=2, total=1))
    client.update_many(some(1, 5000))
    client.update(OrderUpdate(order_id=2, total=1), durable=True)
    after = int(stream.info("stats")["total_connections_received"])
    nudging = 2
    assert after - before <= 1 + nudging


def test_a_closed_producer_leaves_no_connection(settings: Settings, stream: Redis) -> None:
    before = {each["id"] for each in stream.client_list()}
    for made in DOORS.values():
        with made().closing() as client:
            client.update(OrderUpdate(order_id=2, total=1))
            client.update(OrderUpdate(order_id=2, total=1), durable=True)
    eventually(
        lambda: {each["id"] for each in stream.client_list()} <= before, 10, "connections are left"
    )
