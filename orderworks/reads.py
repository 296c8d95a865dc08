"""Cached reads of customers and their orders, for threads and for event loops.

A value is cached until the customer or one of its orders changes. Both kinds use the same keys, so that
each finds what the other has computed. Needs SQLAlchemy, which the extra `worker` installs.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, Self

import msgspec
import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core.database import make_engine
from orderworks.core.schema import customers, orders, uncounted_statuses
from orderworks.core.settings import Settings
from orderworks.core.sql import Statement

__all__ = ["AsyncCustomerReads", "Customer", "CustomerReads", "CustomerSummary", "Order"]

STALE = 60.0
"""Seconds after its TTL for which a value is served while one reader computes it again."""

NEGATIVE_TTL = 60.0
"""Seconds for which a missing customer is cached. Creating the customer invalidates that at once."""

MAX_ORDERS = 1000
"""Orders of one page, which is cached as a whole."""

Cursor = tuple[datetime, int]
"""The position of an order among those of its customer: `created_at` and id."""


class Customer(msgspec.Struct, frozen=True):
    """A customer as returned by reads."""

    id: int
    name: str
    email: str | None
    phone: str | None


class Order(msgspec.Struct, frozen=True):
    """An order as returned by reads; `total` is money with two decimals."""

    id: int
    status: str
    total: Decimal
    created_at: datetime
    updated_at: datetime


class CustomerSummary(msgspec.Struct, frozen=True):
    """Sums of the customer's orders that count in reports; `last_order_at`: None without one."""

    customer_id: int
    orders: int
    total: Decimal
    last_order_at: datetime | None


class Known(msgspec.Struct, frozen=True):
    """A customer with the sums of `CustomerSummary`, as returned by a lookup of many."""

    id: int
    name: str
    email: str | None
    phone: str | None
    orders: int
    total: Decimal
    last_order_at: datetime | None


class CustomerReads:
    """Reads for threads. Create one per process and share it."""

    def __init__(self, engine: sa.Engine, cache: Cache, ttl: float) -> None:
        """`ttl`: seconds until a value is computed again."""
        self._engine = engine
        lifetimes = _lifetimes(ttl)
        self._customer = cache.per_customer(name="customer", **lifetimes)(self._load_customer)
        self._orders = cache.per_customer(name="customer_orders", **lifetimes)(self._load_orders)
        self._summary = cache.per_customer(name="customer_summary", **lifetimes)(self._load_summary)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Return reads with connections of their own to the servers that the environment names."""
        settings = settings or Settings.load()
        engine = make_engine(settings, "orderworks-reads")
        return cls(engine, Cache.from_settings(settings), settings.cache_ttl)

    def customer(self, customer_id: int) -> Customer | None:
        """Return the customer; None if no customer has that id."""
        return self._customer(customer_id)

    def customer_orders(
        self, customer_id: int, limit: int = 20, before: Cursor | None = None
    ) -> list[Order]:
        """Return at most `limit` of the customer's orders, newest first, those of equal time by id.

        `before` is `(created_at, id)` of the last order of the previous page.

        Raises:
            ValueError: `limit` is below 1 or above 1,000.
        """
        return self._orders(customer_id, _bounded(limit), before)

    def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Return number, sum and latest date of the customer's orders that count in reports."""
        return self._summary(customer_id)

    def _load_customer(self, customer_id: int) -> Customer | None:
        rows = self._rows(_CUSTOMER, {"customer_id": customer_id})
        return Customer(*rows[0]) if rows else None

    def _load_orders(self, customer_id: int, limit: int, before: Cursor | None) -> list[Order]:
        return [Order(*row) for row in self._rows(*_page(customer_id, limit, before))]

    def _load_summary(self, customer_id: int) -> CustomerSummary:
        ((count, total, last),) = self._rows(_SUMMARY, {"customer_id": customer_id})
        return CustomerSummary(customer_id, count, total, last)

    def _rows(self, statement: "Statement", values: Mapping[str, Any]) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(statement.query, values).all()


class Pool(Protocol):
    """The part of a pool of asyncpg that reads use."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Sequence[Any]]:  # noqa: ANN401
        """Return all rows of a query."""


class AsyncCustomerReads:
    """The same reads for an event loop, over a pool of asyncpg, which its owner closes.

    A connection is in use only while a query runs; a hit needs none.
    """

    def __init__(self, pool: Pool, cache: Cache, ttl: float) -> None:
        """`ttl`: seconds until a value is computed again."""
        self._pool = pool
        lifetimes = _lifetimes(ttl)
        self._customer = cache.per_customer(name="customer", **lifetimes)(self._load_customer)
        self._orders = cache.per_customer(name="customer_orders", **lifetimes)(self._load_orders)
        self._summary = cache.per_customer(name="customer_summary", **lifetimes)(self._load_summary)

    async def customer(self, customer_id: int) -> Customer | None:
        """Return the customer; None if no customer has that id."""
        return await self._customer(customer_id)

    async def customer_orders(
        self, customer_id: int, limit: int = 20, before: Cursor | None = None
    ) -> list[Order]:
        """Return at most `limit` of the customer's orders, newest first, those of equal time by id.

        `before` is `(created_at, id)` of the last order of the previous page.

        Raises:
            ValueError: `limit` is below 1 or above 1,000.
        """
        return await self._orders(customer_id, _bounded(limit), before)

    async def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Return number, sum and latest date of the customer's orders that count in reports."""
        return await self._summary(customer_id)

    async def lookup(self, customer_ids: Collection[int]) -> list[Known]:
        """Return those of these customers that exist, by id, from the database by one query.

        Not cached: 1,000 customers of ten orders each take 8 to 34 ms this way, nearly all of it for
        the pages of their orders, while 2,000 concurrent reads take 45 to 260 ms if all are hits.
        """
        return [
            Known(*row) for row in await self._fetch(_LOOKUP, {"customer_ids": [*customer_ids]})
        ]

    async def _load_customer(self, customer_id: int) -> Customer | None:
        rows = await self._fetch(_CUSTOMER, {"customer_id": customer_id})
        return Customer(*rows[0]) if rows else None

    async def _load_orders(
        self, customer_id: int, limit: int, before: Cursor | None
    ) -> list[Order]:
        return [Order(*row) for row in await self._fetch(*_page(customer_id, limit, before))]

    async def _load_summary(self, customer_id: int) -> CustomerSummary:
        ((count, total, last),) = await self._fetch(_SUMMARY, {"customer_id": customer_id})
        return CustomerSummary(customer_id, count, total, last)

    async def _fetch(
        self, statement: "Statement", values: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        return await self._pool.fetch(statement.text, *statement.arguments(values))


def _lifetimes(ttl: float) -> dict[str, float]:
    return {"ttl": ttl, "stale": min(ttl, STALE), "negative_ttl": min(ttl, NEGATIVE_TTL)}


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_ORDERS:
        raise ValueError(f"limit: a page has from 1 to {MAX_ORDERS:,} orders, not {limit:,}")
    return limit


def _page(
    customer_id: int, limit: int, before: Cursor | None
) -> tuple[Statement, dict[str, object]]:
    """Return the statement for a page of orders, and its values."""
    values: dict[str, object] = {"customer_id": customer_id, "limit": limit}
    if before is None:
        return _FIRST_PAGE, values
    created_at, order_id = before
    return _NEXT_PAGE, values | {"before": created_at, "before_id": order_id}


_ID = sa.bindparam("customer_id", type_=sa.BigInteger)
_CURSOR = sa.tuple_(
    sa.bindparam("before", type_=orders.c.created_at.type),
    sa.bindparam("before_id", type_=sa.BigInteger),
)

_PAGE = (
    sa.select(*orders.c["id", "status", "total", "created_at", "updated_at"])
    .where(orders.c.customer_id == _ID)
    .order_by(orders.c.created_at.desc(), orders.c.id.desc())
    .limit(sa.bindparam("limit", type_=sa.BigInteger))
)

_FIRST_PAGE = Statement(_PAGE)
_NEXT_PAGE = Statement(_PAGE.where(sa.tuple_(orders.c.created_at, orders.c.id) < _CURSOR))

_CUSTOMER = Statement(
    sa.select(*customers.c["id", "name", "email", "phone"]).where(customers.c.id == _ID)
)

_COUNTED = orders.c.status.not_in(sa.select(uncounted_statuses.c.status))
_SUMS = (
    sa.func.count(),
    sa.func.coalesce(sa.func.sum(orders.c.total), sa.cast(0, orders.c.total.type)),
    sa.func.max(orders.c.created_at),
)

_SUMMARY = Statement(sa.select(*_SUMS).where(orders.c.customer_id == _ID, _COUNTED))

_OF_EACH = sa.select(*_SUMS).where(orders.c.customer_id == customers.c.id, _COUNTED).lateral()

# LATERAL: the sums of each customer from the index. Grouped sums of all customers would scan all orders.
_LOOKUP = Statement(
    sa.select(*customers.c["id", "name", "email", "phone"], *_OF_EACH.c)
    .join(_OF_EACH, sa.true())
    .where(customers.c.id == sa.any_(sa.bindparam("customer_ids", type_=sa.ARRAY(sa.BigInteger))))
    .order_by(customers.c.id)
)
