"""Reads of customers: complete pages, and the same results in threads and event loops."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import asyncpg
import pytest
import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.reads import AsyncCustomerReads, Customer, CustomerReads, CustomerSummary, Order

MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
COUNT = 23

T = TypeVar("T")


@pytest.fixture(autouse=True)
def paged_orders(engine: sa.Engine) -> None:
    """Create a customer with orders of five times, some of them cancelled, and another's orders."""
    with engine.begin() as connection:
        people = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Bob"}]
        connection.execute(sa.insert(customers), people)
        connection.execute(sa.insert(orders), [row(number) for number in range(COUNT)])
        connection.execute(sa.insert(orders), [row(100) | {"customer_id": 2}])


def row(number: int) -> dict[str, object]:
    """Return an order with a time that other orders have too."""
    moment = MOMENT + timedelta(days=number % 5)
    return {
        "id": number,
        "customer_id": 1,
        "total": f"{number}.05",
        "status": "cancelled" if number % 7 == 0 else "paid",
        "created_at": moment,
        "updated_at": moment,
    }


def expected() -> list[int]:
    """Return the ids of all orders, newest first."""
    return sorted(range(COUNT), key=lambda number: (number % 5, number), reverse=True)


@pytest.fixture
def reads(engine: sa.Engine, settings: Settings) -> CustomerReads:
    """Reads for threads."""
    return CustomerReads(engine, Cache.from_settings(settings), ttl=60)


def asked(settings: Settings, read: Callable[[AsyncCustomerReads], Awaitable[T]]) -> T:
    """Read in an event loop of its own; return the result."""

    async def run() -> T:
        cache = Cache.from_settings(settings)
        async with asyncpg.create_pool(settings.database, min_size=1, max_size=3) as pool:
            found = await read(AsyncCustomerReads(pool, cache, ttl=60))
        await cache.aclose()
        return found

    return asyncio.run(run())


def test_pages_have_every_order_once_newest_first(reads: CustomerReads) -> None:
    found: list[Order] = []
    while page := reads.customer_orders(1, limit=4, before=cursor(found)):
        assert len(page) == 4 or len(found) + len(page) == COUNT
        found += page
    assert [order.id for order in found] == expected()


def cursor(found: list[Order]) -> tuple[datetime, int] | None:
    """Return the cursor of the next page."""
    return (found[-1].created_at, found[-1].id) if found else None


def test_async_pages_equal_sync_pages(settings: Settings) -> None:
    async def run(reads: AsyncCustomerReads) -> list[int]:
        found: list[Order] = []
        while page := await reads.customer_orders(1, limit=4, before=cursor(found)):
            found += page
        return [order.id for order in found]

    assert asked(settings, run) == expected()


@pytest.mark.parametrize("limit", [-1, 0, 1001, 10**9])
def test_page_size_above_the_limit_is_refused_and_the_limit_is_allowed(
    reads: CustomerReads, settings: Settings, limit: int
) -> None:
    with pytest.raises(ValueError, match=r"limit: a page has from 1 to 1,000 orders"):
        reads.customer_orders(1, limit)
    with pytest.raises(ValueError, match=r"limit: a page has from 1 to 1,000 orders"):
        asked(settings, lambda reads: reads.customer_orders(1, limit))
    assert len(reads.customer_orders(1, 1000)) == COUNT
    assert len(asked(settings, lambda reads: reads.customer_orders(1, 1))) == 1


def test_sync_and_async_reads_share_the_cache(
    engine: sa.Engine, settings: Settings, reads: CustomerReads, cache: Redis
) -> None:
    async def read(reads: AsyncCustomerReads, customer_id: int) -> tuple[object, ...]:
        return (
            await reads.customer(customer_id),
            await reads.customer_summary(customer_id),
            await reads.customer_orders(customer_id, limit=3, before=(MOMENT, 99)),
            await reads.customer(404),
        )

    def of_thread(customer_id: int) -> tuple[object, ...]:
        return (
            reads.customer(customer_id),
            reads.customer_summary(customer_id),
            reads.customer_orders(customer_id, limit=3, before=(MOMENT, 99)),
            reads.customer(404),
        )

    threads, tasks = of_thread(1), asked(settings, lambda reads: read(reads, 2))
    with engine.begin() as connection:
        # Emptied without invalidation: reads after this must come from the cache.
        connection.execute(sa.text("ALTER TABLE orders DISABLE TRIGGER USER"))
        connection.execute(sa.delete(orders))
    assert asked(settings, lambda reads: read(reads, 1)) == threads
    assert of_thread(2) == tasks
    cache.flushdb()
    assert asked(settings, lambda reads: read(reads, 1)) != threads


def test_async_read_equals_sync_read(settings: Settings, cache: Redis) -> None:
    async def read(reads: AsyncCustomerReads) -> list[object]:
        return [
            await reads.customer(1),
            await reads.customer(404),
            await reads.customer_summary(1),
            await reads.customer_summary(404),
            (await reads.customer_orders(1, limit=1))[0],
        ]

    counted = [number for number in range(COUNT) if number % 7]
    newest = MOMENT + timedelta(days=4)
    assert asked(settings, read) == [
        Customer(1, "Ada", None, None),
        None,
        CustomerSummary(1, len(counted), sum(map(amount, counted), Decimal(0)), newest),
        CustomerSummary(404, 0, Decimal(0), None),
        Order(19, "paid", Decimal("19.05"), newest, newest),
    ]


def amount(number: int) -> Decimal:
    """Return the total of an order."""
    return Decimal(f"{number}.05")
