"""Sides of benchmarks do the same as Orderworks; a side with another result is detected."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from bench.alternate import SideFailed
from bench.cache import invalidation
from bench.gateway.cached_read import run_http_load
from bench.gateway.serving import served, slow_link
from bench.imports.loaders import LOADERS, ImportLoader
from bench.peers.job import JobConnections
from bench.peers.registry import BARE_LOOP, CELERY, CELERY_TUNED, Peer
from bench.psql_copy import copy
from bench.stack import BenchStack
from bench.updates.updates import run_peer
from bench.updates.workers import open_peer_environment
from bench.updates.workloads import check, prepare, random_workload
from orderworks.cache import invalidate
from orderworks.core.database import database_address
from orderworks.core.errors import OrderworksError
from orderworks.core.redis import Redis, make_redis
from orderworks.core.settings import Settings
from orderworks_app.demo.data import generate
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.stack import Stack
from orderworks_app.gateway.auth.scopes import Scope
from orderworks_app.gateway.auth.token_store import create_token

CUSTOMERS = "id,name,phone,email\n1,Ada,,ada@shop.example\n"
ORDERS = [
    ("id", "customer_id", "total", "status", "created_at"),
    ("7", "1", "19.90", "open", "2026-11-01"),
    ("9", "1", "0.05", "partly filled", "2026-11-02"),
]

AS_IN_THE_FILE = sa.text(
    "SELECT id::text, customer_id::text, total::text, status, to_char(created_at, 'YYYY-MM-DD') "
    "FROM orders ORDER BY id"
)


@pytest.fixture
def file(settings: Settings, tmp_path: Path) -> Path:
    """A file of orders of an existing customer."""
    (tmp_path / "customers.csv").write_text(CUSTOMERS)
    copy(settings.database, "customers", tmp_path / "customers.csv")
    made = tmp_path / "orders.csv"
    with made.open("w", newline="") as lines:
        csv.writer(lines).writerows(ORDERS)
    return made


def in_the_table(engine: sa.Engine) -> list[tuple[str, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(AS_IN_THE_FILE)]


@pytest.mark.parametrize("way", LOADERS, ids=lambda way: way.name)
def test_every_loader_loads_every_row_unchanged(
    engine: sa.Engine, file: Path, way: ImportLoader
) -> None:
    way.load(engine, file)
    assert in_the_table(engine) == ORDERS[1:]


def test_copy_loads_files_concurrently(settings: Settings, engine: sa.Engine, file: Path) -> None:
    header, *rows = file.read_text().splitlines()
    halves = [file.with_name(f"half-{number}.csv") for number in (1, 2)]
    for half, row in zip(halves, rows, strict=True):
        half.write_text(f"{header}\n{row}\n")
    copy(settings.database, "orders", *halves)
    assert in_the_table(engine) == ORDERS[1:]


@pytest.fixture
def bench_stack(
    stack: Stack, settings: Settings, engine: sa.Engine, tmp_path: Path
) -> Iterator[BenchStack]:
    """The test's servers with a thousand orders, as a stack of the benchmarks."""
    address = database_address(str(stack.admin_url))
    database = sa.make_url(settings.database).database
    admin = sa.create_engine(address.set(database=database), isolation_level="AUTOCOMMIT")
    made = BenchStack(settings, engine, admin, tmp_path, generate(tmp_path, 1000))
    made.with_orders()
    yield made
    admin.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("peer", [BARE_LOOP, CELERY, CELERY_TUNED], ids=lambda each: each.module)
def test_peer_applies_all_updates_and_is_timed(bench_stack: BenchStack, peer: Peer) -> None:
    started = time.monotonic()
    seconds = run_peer(open_peer_environment(bench_stack), peer, 300)
    assert 0 < seconds < time.monotonic() - started


def test_missing_update_is_detected(bench_stack: BenchStack) -> None:
    workload = random_workload(bench_stack, 300)
    prepare(bench_stack, workload)
    connections = JobConnections()
    for update in workload.updates[:-1]:
        connections.update(*update)
    with pytest.raises(OrderworksError, match="orders are wrong"):
        check(bench_stack, workload)
    connections.update(*workload.updates[-1])
    check(bench_stack, workload)


def test_unexpected_write_is_detected(bench_stack: BenchStack) -> None:
    workload = random_workload(bench_stack, 300)
    prepare(bench_stack, workload)
    connections = JobConnections()
    for update in workload.updates:
        connections.update(*update)
    untouched = set(bench_stack.sample.orders["id"]) - workload.newest().keys()
    connections.update(untouched.pop(), "1.00", workload.first_version)
    with pytest.raises(OrderworksError, match="^1 of"):
        check(bench_stack, workload)


def test_cached_read_not_invalidated_is_detected(bench_stack: BenchStack, cache: Redis) -> None:
    workload = random_workload(bench_stack, 300)
    prepare(bench_stack, workload)
    (kept, *_) = cache.scan_iter("orders:cache:*")
    connections = JobConnections()
    for update in workload.updates:
        connections.update(*update)
    cache.hset(kept, "token", "slow reader")
    with pytest.raises(OrderworksError, match="cached reads of 1 customers were not"):
        check(bench_stack, workload)


@pytest.mark.parametrize(
    ("name", "dropped", "keys_each"),
    [
        (invalidation.UNLINK, 10, 1),
        (invalidation.INVALIDATE, 10, 1),
        (invalidation.SCAN, 10, invalidation.VALUES_EACH),
        (invalidation.KEYS, invalidation.KEYS_CUSTOMERS, invalidation.VALUES_EACH),
    ],
)
def test_each_invalidation_method_removes_exactly_its_customers(
    cache: Redis, name: str, dropped: int, keys_each: int
) -> None:
    (side,) = [each for each in invalidation.invalidation_sides(cache, 1000) if each.name == name]
    assert side.count == dropped
    assert side.run() > 0
    assert cache.dbsize() == (100 - dropped) * keys_each


def test_incomplete_invalidation_is_detected(cache: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "invalidate", lambda client, ids: invalidate(client, ids[1:]))
    (side,) = [
        each
        for each in invalidation.invalidation_sides(cache, 1000)
        if each.name == invalidation.INVALIDATE
    ]
    with pytest.raises(OrderworksError, match="expected 90 remaining keys, not 91"):
        side.run()


@pytest.mark.slow
def test_failed_worker_is_reported_with_its_last_output(bench_stack: BenchStack) -> None:
    broken = msgspec.structs.replace(CELERY, workers=(("-c", "import nothing_of_that_name"),))
    with pytest.raises(SideFailed, match="its worker ended: .*nothing_of_that_name"):
        run_peer(open_peer_environment(bench_stack), broken, 300)


def test_failed_sender_is_reported_with_its_last_output(bench_stack: BenchStack) -> None:
    unknown = msgspec.structs.replace(CELERY, module="no_such_module")
    with pytest.raises(SideFailed, match="its sender failed: .*no_such_module"):
        run_peer(open_peer_environment(bench_stack), unknown, 300)


@pytest.mark.slow
def test_delayed_link_adds_latency_without_limiting_throughput(settings: Settings) -> None:
    with slow_link(settings.cache, 0.2) as url, make_redis(url, 10) as client:
        client.ping()
        started = time.monotonic()
        client.ping()
        assert 0.2 <= time.monotonic() - started < 0.4
        with client.pipeline(transaction=False) as pipeline:
            for _answer in range(50):
                pipeline.echo("x" * (1 << 18))
            started = time.monotonic()
            assert len(pipeline.execute()) == 50
            assert time.monotonic() - started < 5, "two hundred pieces are delayed concurrently"


@pytest.mark.slow
def test_wrong_response_is_detected(engine: sa.Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "bench", [Scope.READ], 1_000_000)
    with served(
        "-m", "orderworks_app", "gateway", "--port", DATABASE_URL=settings.database
    ) as port:
        address = f"http://{LOOPBACK}:{port}"
        assert run_http_load(f"{address}/openapi.json", token, 64) > 0
        with pytest.raises(SideFailed, match="it responded b'HTTP/1.1 200"):
            # Its response includes the requests counted meanwhile.
            run_http_load(f"{address}/metrics", token, 64)
