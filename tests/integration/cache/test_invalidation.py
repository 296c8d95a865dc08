"""Cached reads: exact, removed when their customer changes, never restored by a slow reader."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.cache import Cache, invalidate
from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.reads import STALE, Customer, CustomerReads, CustomerSummary, Order

MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
ADA = Customer(1, "Ada", "ada@shop.example", None)


@pytest.fixture(autouse=True)
def ada(engine: sa.Engine) -> None:
    """A customer with three orders, one of them cancelled."""
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=1, name="Ada", email=ADA.email))
        connection.execute(
            sa.insert(orders),
            [
                {"id": 1, "customer_id": 1, "total": "10.10", "status": "paid"},
                {"id": 2, "customer_id": 1, "total": "0.05", "status": "new"},
                {"id": 3, "customer_id": 1, "total": "99", "status": "cancelled"},
            ],
        )
        connection.execute(sa.update(orders).values(created_at=MOMENT, updated_at=MOMENT))


@pytest.fixture
def reads(engine: sa.Engine, settings: Settings) -> CustomerReads:
    """Cached reads."""
    return CustomerReads(engine, Cache.from_settings(settings), ttl=60)


@pytest.fixture
def queries(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that reach the database."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda reads: reads.customer(1), ADA),
        (lambda reads: reads.customer(404), None),
        (
            lambda reads: reads.customer_summary(1),
            CustomerSummary(1, 2, Decimal("10.15"), MOMENT),
        ),
        (lambda reads: reads.customer_summary(404), CustomerSummary(404, 0, Decimal(0), None)),
        (
            lambda reads: reads.customer_orders(1, limit=1),
            [Order(3, "cancelled", Decimal("99.00"), MOMENT, MOMENT)],
        ),
    ],
)
def test_cached_read_equals_the_first_read(
    reads: CustomerReads,
    queries: list[str],
    read: Callable[[CustomerReads], object],
    expected: object,
) -> None:
    assert read(reads) == expected
    assert queries
    queries.clear()
    assert read(reads) == expected
    assert not queries


def test_invalidation_removes_reads_of_that_customer_only(
    reads: CustomerReads, cache: Redis
) -> None:
    reads.customer(1), reads.customer_summary(1), reads.customer(2)
    invalidate(cache, [1])
    assert not cache.exists(keys.customer_cache(1))
    assert cache.exists(keys.customer_cache(2))


def test_invalidating_zero_or_thousands_of_customers_works(
    reads: CustomerReads, cache: Redis
) -> None:
    reads.customer(1)
    invalidate(cache, [])
    assert cache.exists(keys.customer_cache(1))
    invalidate(cache, range(1, 5001))
    assert not cache.exists(keys.customer_cache(1))


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["invalidated", "evicted and read by another"])
def test_slow_reader_cannot_store_stale_data(
    engine: sa.Engine, settings: Settings, reads: CustomerReads, cache: Redis, meanwhile: str
) -> None:
    queried, go_on = threading.Event(), threading.Event()

    class SlowReads(CustomerReads):
        def _load_customer(self, customer_id: int) -> Customer | None:
            found = super()._load_customer(customer_id)
            queried.set()
            assert go_on.wait(10)
            return found

    slow = threading.Thread(
        target=lambda: SlowReads(engine, Cache.from_settings(settings), 60).customer(1)
    )
    slow.start()
    assert queried.wait(10), "the reader is between its query and its store"
    with engine.begin() as connection:
        connection.execute(sa.update(customers).values(name="Countess"))
    invalidate(cache, [1])
    if meanwhile != "invalidated":
        reads.customer(1)
    go_on.set()
    slow.join()
    found = reads.customer(1)
    assert found is not None
    assert found.name == "Countess"


def test_reads_use_the_database_while_redis_is_unavailable(engine: sa.Engine) -> None:
    nowhere = Cache("redis://127.0.0.1:1/0", timeout=0.5)
    assert CustomerReads(engine, nowhere, ttl=60).customer(1) == ADA


def test_every_cached_read_expires(reads: CustomerReads, cache: Redis) -> None:
    reads.customer(1)
    assert 0 < cache.ttl(keys.customer_cache(1)) <= 60 + STALE
