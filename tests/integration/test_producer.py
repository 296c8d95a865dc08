"""The producer: what it accepts is in the stream, what it refuses is nowhere, and it never hangs."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from orders import names
from orders.redis import Redis, make_redis
from orders.settings import Settings
from orders.stream import UpdateStream
from producer import (
    Backpressure,
    ConfigurationError,
    InvalidUpdate,
    OrderUpdate,
    PartlyAccepted,
    Producer,
    Unavailable,
)


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    """A producer for the test's servers."""
    assert settings.stream
    with Producer.from_settings() as made:
        yield made


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def some(count: int) -> list[OrderUpdate]:
    """Updates of as many orders."""
    return [OrderUpdate(order_id=key, total=key) for key in range(1, count + 1)]


def test_an_update_stands_in_its_shard_under_the_id_that_was_returned(
    producer: Producer, updates: UpdateStream
) -> None:
    update = OrderUpdate(order_id=7, total="19.99")
    entry_id = producer.update(update)
    (entry,) = updates.read(updates.shard_of(7), 10)
    assert entry.id.decode() == entry_id
    assert OrderUpdate.decode(entry.payload) == update


def test_one_nudge_is_sent_for_many_updates(
    producer: Producer, settings: Settings, stream: Redis
) -> None:
    for _ in range(5):
        producer.update(OrderUpdate(order_id=2, total=1))
    with make_redis(settings.broker, 5) as broker:
        assert broker.llen(names.Queue.UPDATES) == 1
    assert 0 < stream.ttl(names.update_nudge(0)) <= 10


def test_update_many_accepts_any_iterable_in_order(
    producer: Producer, updates: UpdateStream
) -> None:
    assert producer.update_many(iter(some(2500))) == 2500
    for shard in range(updates.shards):
        found = [OrderUpdate.decode(entry.payload).order_id for entry in updates.read(shard, 5000)]
        assert found == [key for key in range(1, 2501) if key % updates.shards == shard]


def test_update_many_of_nothing_is_nothing(producer: Producer) -> None:
    assert producer.update_many([]) == 0


def test_a_full_stream_refuses_and_loses_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, updates: UpdateStream
) -> None:
    monkeypatch.setenv("STREAM_LIMIT", "1000")
    assert settings.update_shards == 2
    with Producer.from_settings() as producer:
        with pytest.raises(PartlyAccepted) as stopped:
            producer.update_many(some(5000))
        assert isinstance(stopped.value.__cause__, Backpressure)
        assert stopped.value.accepted == 2000 == updates.length(0) + updates.length(1)
        assert stopped.value.refused == some(3000)[2000:]
        assert not stopped.value.uncertain
        with pytest.raises(Backpressure, match="STREAM_LIMIT"):
            producer.update(OrderUpdate(order_id=1, total=1))


def test_an_iterable_that_fails_says_how_many_were_accepted(
    producer: Producer, updates: UpdateStream
) -> None:
    def failing() -> Iterator[OrderUpdate]:
        yield from some(1500)
        raise LookupError("no more")

    with pytest.raises(PartlyAccepted, match="no more") as stopped:
        producer.update_many(failing())
    assert stopped.value.accepted == 1500 == updates.length(0) + updates.length(1)


def test_what_is_no_update_is_refused_before_anything_is_sent(
    producer: Producer, updates: UpdateStream
) -> None:
    with pytest.raises(InvalidUpdate, match="dict is not an OrderUpdate"):
        producer.update({"order_id": 1})  # type: ignore[arg-type]
    with pytest.raises(InvalidUpdate):
        producer.update_many(["x"])  # type: ignore[list-item]
    assert updates.length(0) + updates.length(1) == 0


def test_a_server_that_is_away_is_named_at_once(settings: Settings) -> None:
    assert settings.redis_timeout == 5
    with Producer(redis_url="redis://:secret@127.0.0.1:1/0") as producer:
        with pytest.raises(Unavailable, match=r"Redis cannot be used: .*127\.0\.0\.1:1\.") as away:
            producer.update(OrderUpdate(order_id=1, total=1))
        assert "secret" not in str(away.value)
        with pytest.raises(Unavailable):
            producer.import_file(b"id,name\n1,Ada\n", kind="customers")


def test_a_server_that_never_answers_is_given_up_in_time(
    settings: Settings, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.stream
    monkeypatch.setenv("REDIS_TIMEOUT", "0.5")
    began = time.monotonic()
    with Producer(redis_url=silent_server) as producer:
        with pytest.raises(PartlyAccepted) as lost:
            producer.update_many(some(10))
        assert (lost.value.accepted, len(lost.value.uncertain)) == (0, 5)
    assert time.monotonic() - began < 5


def test_a_broker_that_is_away_costs_a_delay_and_no_update(
    settings: Settings, updates: UpdateStream
) -> None:
    assert settings.stream
    with Producer(broker_url="redis://127.0.0.1:1/0") as producer:
        producer.update(OrderUpdate(order_id=2, total=1))
    assert updates.length(0) == 1


def test_a_wrong_address_names_the_variable(settings: Settings) -> None:
    assert settings.stream
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        Producer(redis_url="http://wrong")


def test_threads_may_share_it(producer: Producer, updates: UpdateStream) -> None:
    threads = [threading.Thread(target=producer.update_many, args=(some(500),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert updates.length(0) + updates.length(1) == 2000


def test_importing_it_loads_neither_sqlalchemy_nor_polars_nor_the_worker() -> None:
    heavy = ("sqlalchemy", "psycopg2", "polars", "alembic", "worker", "tasks", "celeryconfig")
    code = f"import sys, producer; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
