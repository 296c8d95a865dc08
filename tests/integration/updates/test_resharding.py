"""Resharding: an order's updates are never split over two streams, also after an interruption."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import count

import pytest
import sqlalchemy as sa

from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.errors import (
    Backpressure,
    ConfigurationError,
    OrderworksError,
    PartlyAccepted,
    ReshardStopped,
)
from orderworks.core.locks import MAX_IDLE_IN_TRANSACTION, Lock, try_lock
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import parked_updates, update_shards
from orderworks.core.settings import Settings
from orderworks.imports.importer import Importer
from orderworks.imports.spool import Spool
from orderworks.maintenance.sweep import find_lost_work
from orderworks.updates.drain import Drain
from orderworks.updates.ingest import IngestResult, UpdateIngest
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.resharding import Resharding
from orderworks.updates.shard_layout import ShardLayout, read_layout
from orderworks.updates.sources import StreamSource
from orderworks.updates.stream import UpdateStream
from producer import Producer
from tests.support.oracle import read_verdicts
from tests.support.processes import eventually
from tests.support.producers import AsyncProducerClient, SyncProducerClient
from tests.support.types import ReadRows, WriteRows

ORDERS = range(1, 25)
SHARDS = 4
"""The largest number of shards in these tests."""

Spread = Callable[[int], UpdateStream]
DrainShards = Callable[[], None]
Reshard = Callable[..., ShardLayout]


@pytest.fixture(autouse=True)
def some_orders(seed: WriteRows) -> None:
    """Some orders of one customer."""
    seed({key: (1, "new", Decimal("0.00"), 0) for key in ORDERS})


@pytest.fixture
def over(stream: Redis, settings: Settings) -> Spread:
    """Return the streams as a process with this UPDATE_SHARDS sees them."""
    return lambda shards: UpdateStream(stream, shards, settings.stream_limit)


@pytest.fixture
def reshard(settings: Settings, stream: Redis) -> Iterator[Reshard]:
    """Change the layout as the command does, optionally over another client."""
    own = make_engine(settings, "orderworks-test")

    def run(goal: int, timeout: float = 20, client: Redis = stream) -> ShardLayout:
        return Resharding(own, client, settings).run(goal, timeout)

    yield run
    own.dispose()


@pytest.fixture
def drain_shards(engine: sa.Engine, over: Spread, cache: Redis, settings: Settings) -> DrainShards:
    """Drain the shards of all layouts in these tests."""
    updates = over(SHARDS)

    def run() -> None:
        for shard in range(SHARDS):
            Drain(engine, StreamSource(updates, shard, 60), cache, settings).run()

    return run


def append(updates: UpdateStream, order_id: int) -> type[OrderworksError] | None:
    """Append an update of the order; return the type of the error if it is refused."""
    update = OrderUpdate(order_id=order_id, total=1)
    try:
        updates.append(updates.shard_of(order_id), [update.encode()])
    except OrderworksError as error:
        return type(error)
    return None


def test_first_append_sets_the_shard_count(over: Spread, stream: Redis) -> None:
    assert append(over(2), 1) is None
    assert read_layout(stream) == ShardLayout(2)
    assert stream.get(keys.update_layout(1)) == b"2"


def test_append_with_another_shard_count_is_refused_in_every_shard(over: Spread) -> None:
    append(over(2), 1)
    for order_id in range(1, 5):
        with pytest.raises(ConfigurationError, match=r"UPDATE_SHARDS is 4 here.*UPDATE_SHARDS=2"):
            over(4).append(order_id % 4, [b"{}"])
    assert [over(4).length(shard) for shard in range(4)] == [0, 1, 0, 0]


def test_refused_producer_reports_accepted_count(settings: Settings, stream: Redis) -> None:
    updates = [OrderUpdate(order_id=key, total=1) for key in (2, 1)]
    with Producer.from_settings() as producer:
        assert producer.update_many(updates) == 2
        stream.set(keys.update_layout(1), b"4")
        with pytest.raises(PartlyAccepted, match="UPDATE_SHARDS is 2 here") as stopped:
            producer.update_many(updates)
    assert (stopped.value.accepted, stopped.value.refused) == (1, updates[1:])
    assert not stopped.value.uncertain


@pytest.mark.parametrize("kind", [SyncProducerClient, AsyncProducerClient])
@pytest.mark.parametrize("durable", [False, True])
def test_both_producers_set_layout_wait_and_are_refused(
    kind: type[SyncProducerClient | AsyncProducerClient],
    durable: bool,  # noqa: FBT001 - a parameter
    over: Spread,
    stream: Redis,
) -> None:
    updates = [OrderUpdate(order_id=key, total=1) for key in ORDERS]
    with kind().closing() as client:
        assert client.update_many(updates, durable=durable) == len(ORDERS)
        assert read_layout(stream) == ShardLayout(2)
        assert stream.get(keys.update_layout(1)) == b"2"
        stream.set(keys.update_layout(1), ShardLayout(2, 4).encode())
        with pytest.raises(Backpressure, match="changed from 2 to 4"):
            client.update(updates[0], durable=durable)
        reopened = threading.Timer(0.2, stream.set, (keys.update_layout(1), b"2"))
        reopened.start()
        client.update(updates[0], durable=durable, wait_for_room=20)
        stream.set(keys.update_layout(1), b"4")
        with pytest.raises(PartlyAccepted, match="UPDATE_SHARDS is 2 here") as stopped:
            client.update_many(updates, durable=durable)
    assert stopped.value.accepted == len(stopped.value.refused) == len(ORDERS) // 2
    assert not stopped.value.uncertain
    assert over(2).length(0) + over(2).length(1) == 2 * len(ORDERS) - len(ORDERS) // 2 + 1


@pytest.mark.parametrize("kind", [SyncProducerClient, AsyncProducerClient])
def test_both_producers_check_shard_0_before_using_a_shard_without_layout(
    kind: type[SyncProducerClient | AsyncProducerClient], stream: Redis, updates: UpdateStream
) -> None:
    stream.set(keys.update_layout(0), b"4")
    with kind().closing() as client, pytest.raises(ConfigurationError, match="over 4 shards"):
        client.update(OrderUpdate(order_id=1, total=1))
    assert updates.length(1) == 0
    assert stream.get(keys.update_layout(1)) is None


@pytest.mark.parametrize("goal", [1, 4])
def test_running_producers_notice_resharding(over: Spread, reshard: Reshard, goal: int) -> None:
    old, new = over(2), over(goal)
    append(old, 1)
    with pytest.raises(ReshardStopped):
        reshard(goal, timeout=0)
    old.trim(1, old.read(1, 1))
    assert reshard(goal) == ShardLayout(2)
    assert {append(old, order_id) for order_id in range(1, 5)} == {ConfigurationError}
    assert {append(new, order_id) for order_id in range(1, 5)} == {None}


def test_no_append_is_accepted_while_updates_of_the_old_layout_wait(
    over: Spread, reshard: Reshard, drain_shards: DrainShards, stream: Redis
) -> None:
    old = over(2)
    append(old, 1)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(reshard, 4)
        eventually(lambda: append(old, 2) is Backpressure, 10, "it is not closed")
        assert read_layout(stream) == ShardLayout(2, 4)
        assert append(over(2), 1) is append(over(4), 1) is Backpressure, (
            "nor does a process that just starts"
        )
        assert not running.done()
        drain_shards()
        assert running.result() == ShardLayout(2)


def test_reshard_that_times_out_changes_nothing(
    over: Spread, reshard: Reshard, stream: Redis
) -> None:
    old = over(2)
    append(old, 1)
    with pytest.raises(ReshardStopped, match="1 updates wait in the streams"):
        reshard(4, timeout=0.2)
    assert read_layout(stream) == ShardLayout(2)
    assert {append(old, order_id) for order_id in range(1, 5)} == {None}
    assert append(over(4), 2) is ConfigurationError


@pytest.mark.slow
def test_reshard_waits_longer_than_the_idle_session_timeout(over: Spread, reshard: Reshard) -> None:
    assert append(over(2), 1) is None
    with pytest.raises(ReshardStopped, match="1 updates wait in the streams"):
        reshard(4, MAX_IDLE_IN_TRANSACTION + 2)


def test_reshard_waits_for_parked_updates(
    over: Spread, reshard: Reshard, drain_shards: DrainShards, engine: sa.Engine
) -> None:
    append(over(2), 99)
    drain_shards()
    with pytest.raises(ReshardStopped, match=r"1 updates are parked.* 300 s"):
        reshard(4, timeout=0.2)
    with engine.begin() as connection:
        connection.execute(sa.delete(parked_updates))
    assert reshard(4) == ShardLayout(2)


def test_reshard_is_refused_while_redis_clock_is_behind_applied_entries(
    reshard: Reshard, stream: Redis, engine: sa.Engine
) -> None:
    seconds, _microseconds = stream.time()
    ahead = (int(seconds) + 3600) * 1000 << 20
    with engine.begin() as connection:
        connection.execute(sa.insert(update_shards).values(shard=1, last_entry=ahead))
    with pytest.raises(ReshardStopped, match=r"the clock of Redis is 3\d{6} ms behind"):
        reshard(4, timeout=0.2)


def test_second_concurrent_reshard_is_refused(reshard: Reshard, engine: sa.Engine) -> None:
    with engine.begin() as other:
        assert try_lock(other, Lock.RESHARD)
        with pytest.raises(ReshardStopped, match="another"):
            reshard(4)


def test_same_shard_count_changes_nothing(over: Spread, reshard: Reshard, stream: Redis) -> None:
    append(over(2), 1)
    assert reshard(2) == ShardLayout(2)
    assert read_layout(stream) == ShardLayout(2)
    assert append(over(2), 1) is None


@contextmanager
def killed_after(writes: int, settings: Settings, patch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A client whose process is killed after `writes` writes: later commands are not sent."""
    with make_redis(settings.stream, timeout=5) as client:
        numbers, write = count(), client.set

        def write_or_die(key: str, word: bytes) -> object:
            if next(numbers) >= writes:
                raise KeyboardInterrupt
            return write(key, word)

        patch.setattr(client, "set", write_or_die)
        yield client


@pytest.mark.parametrize("after", [2, 4])
@pytest.mark.parametrize("writes", range(10))
def test_reshard_killed_at_any_point_can_be_repeated_or_undone(
    writes: int,
    after: int,
    over: Spread,
    reshard: Reshard,
    drain_shards: DrainShards,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    engine: sa.Engine,
) -> None:
    append(over(2), 1)
    drain_shards()
    with killed_after(writes, settings, monkeypatch) as client, suppress(KeyboardInterrupt):
        reshard(4, client=client)
        assert writes == 9, "four to close, one for the word, four to open"
    accepted = 1
    for order_id in ORDERS:
        taken = [append(over(2), order_id), append(over(4), order_id)].count(None)
        in_one_stream = order_id % 2 == order_id % 4
        assert taken <= 1 or in_one_stream, "its updates are in two streams"
        accepted += taken
    drain_shards()
    reshard(after)
    other = over(2 if after == 4 else 4)
    assert {append(over(after), order_id) for order_id in ORDERS} == {None}
    assert {append(other, order_id) for order_id in ORDERS} == {ConfigurationError}
    drain_shards()
    verdicts = read_verdicts(engine)
    assert verdicts == {"accepted": accepted + len(ORDERS), "effective": verdicts["accepted"]}


def test_undo_does_not_wait_for_the_blocker_of_the_reshard(
    over: Spread, reshard: Reshard, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(over(2), 1)
    with killed_after(4, settings, monkeypatch) as client, suppress(KeyboardInterrupt):
        reshard(4, timeout=0.1, client=client)
    assert append(over(2), 1) is Backpressure, "it was killed while it waited"
    assert reshard(2, timeout=0) == ShardLayout(2, 4)
    assert append(over(2), 1) is None


def test_sweep_with_old_shard_count_finds_updates_in_new_shards(
    over: Spread, reshard: Reshard, engine: sa.Engine, stream: Redis, settings: Settings
) -> None:
    reshard(4)
    append(over(4), 3)
    stream.delete(keys.update_nudge(3))
    importer = Importer(engine, Spool(settings.spool), stream, stream, settings)
    forgotten = find_lost_work(engine, over(2), importer)
    assert forgotten
    assert forgotten.shards == [3]


def test_ingest_with_old_shard_count_uses_the_outbox(
    over: Spread, reshard: Reshard, engine: sa.Engine
) -> None:
    reshard(4)
    client = UpdateIngest(engine, over(2), lambda _shard: None)
    assert client.ingest([{"order_id": 2, "total": 1, "version": 1}]) == IngestResult(1, 0)
    assert [over(4).length(shard) for shard in range(4)] == [0] * 4


class Shop:
    """Producers that change different orders, and drains that apply the updates.

    Attributes:
        last: the newest total of each order that was accepted.
        refused: how often a producer had to try again, by error.
    """

    def __init__(self, drain_shards: DrainShards) -> None:
        self.last: Counter[int] = Counter()
        self.refused: Counter[type[OrderworksError]] = Counter()
        self._drain_shards = drain_shards
        self._closed, self._quiet = threading.Event(), threading.Event()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Run three producers and two drains; at the end all updates are applied."""
        shares = [ORDERS[number::3] for number in range(3)]
        with ThreadPoolExecutor(5) as threads:
            drains = [threads.submit(self._drain) for _drain in range(2)]
            producers = [threads.submit(self._produce, share) for share in shares]
            try:
                yield
            finally:
                self._closed.set()
                for each in producers:
                    each.result(timeout=30)
                self._quiet.set()
                for each in drains:
                    each.result(timeout=30)
        self._drain_shards()

    def sell(self, number: int) -> None:
        """Wait until `number` more updates of each order are accepted."""
        before = self.last.copy()
        eventually(lambda: all(self.last[key] >= before[key] + number for key in ORDERS), 30)

    def _drain(self) -> None:
        while not self._quiet.is_set():
            self._drain_shards()

    def _produce(self, order_ids: Sequence[int]) -> None:
        producer = Producer.from_settings()
        while not self._closed.is_set():
            for order_id in order_ids:
                try:
                    producer.update(OrderUpdate(order_id=order_id, total=self.last[order_id] + 1))
                    self.last[order_id] += 1
                except (Backpressure, ConfigurationError) as refused:
                    self.refused[type(refused)] += 1
                    producer.close()
                    producer = Producer.from_settings()
        producer.close()


@contextmanager
def held_up(engine: sa.Engine, shard: int) -> Iterator[None]:
    """Block drains of the shard during the block, as if one took long."""
    with engine.begin() as connection:
        eventually(lambda: try_lock(connection, Lock.DRAIN, shard), 20)
        yield


def test_acceptance_order_is_kept_across_reshards_under_load(
    reshard: Reshard,
    drain_shards: DrainShards,
    rows: ReadRows,
    engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(drain_shards)
    with shop.open(), ThreadPoolExecutor(1) as thread:
        for goal in (4, 3, 2):
            with held_up(engine, shard=0):
                shop.sell(5)
                shop.refused.clear()
                running = thread.submit(reshard, goal)
                eventually(lambda: shop.refused[Backpressure], 20, "no producer had to wait")
                assert not running.done(), "updates wait in the old layout"
            running.result()
            eventually(lambda: shop.refused[ConfigurationError], 20, "no producer noticed")
            monkeypatch.setenv("UPDATE_SHARDS", str(goal))
    accepted = shop.last.total()
    assert {key: row[2] for key, row in rows().items()} == dict(shop.last)
    assert read_verdicts(engine) == {"accepted": accepted, "effective": accepted}, "none was stale"
