"""Reads of customers, cached until anything about the customer changes: for threads and event loops.

Both kinds cache the same values under the same names, so what one has computed the other finds.
Needs SQLAlchemy, which the extra `worker` brings.
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
"""Seconds for which a value past its time is served, unless the customer changed, while one computes."""

NEGATIVE_TTL = 60.0
"""Seconds until it is looked again whether a customer is there. One that is made is found at once."""

MOST_ORDERS = 1000
"""Orders of one page, which is cached as a whole."""

Cursor = tuple[datetime, int]
"""The place of an order among those of its customer: `created_at` and id."""


class Customer(msgspec.Struct, frozen=True):
    """A customer as reads give it."""

    id: int
    name: str
    email: str | None
    phone: str | None


class Order(msgspec.Struct, frozen=True):
    """An order as reads give it; `total` is money with two decimals."""

    id: int
    status: str
    total: Decimal
    created_at: datetime
    updated_at: datetime


class CustomerSummary(msgspec.Struct, frozen=True):
    """How much a customer has ordered; `last_order_at` is None without an order."""

    customer_id: int
    orders: int
    total: Decimal
    last_order_at: datetime | None


class Known(msgspec.Struct, frozen=True):
    """A customer and how much they have ordered, as a lookup of many gives them."""

    id: int
    name: str
    email: str | None
    phone: str | None
    orders: int
    total: Decimal
    last_order_at: datetime | None


class CustomerReads:
    """Reads for threads. Make one per process and share it."""

    def __init__(self, engine: sa.Engine, cache: Cache, ttl: float) -> None:
        """`ttl` is the seconds until a value is computed anew."""
        self._engine = engine
        lives = _lives(ttl)
        self._customer = cache.per_customer(name="customer", **lives)(self._load_customer)
        self._orders = cache.per_customer(name="customer_orders", **lives)(self._load_orders)
        self._summary = cache.per_customer(name="customer_summary", **lives)(self._load_summary)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Reads over connections of its own, addressed by the environment."""
        settings = settings or Settings.load()
        engine = make_engine(settings, "orderworks-reads")
        return cls(engine, Cache.from_settings(settings), settings.cache_ttl)

    def customer(self, customer_id: int) -> Customer | None:
        """The customer, or None if there is none with that id."""
        return self._customer(customer_id)

    def customer_orders(
        self, customer_id: int, limit: int = 20, before: Cursor | None = None
    ) -> list[Order]:
        """The customer's orders, newest first, those of one moment by id; at most `limit`.

        `before` is `(created_at, id)` of the last order of the page before.

        Raises:
            ValueError: `limit` is below 1 or above 1,000.
        """
        return self._orders(customer_id, _bounded(limit), before)

    def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Number, sum and latest date of the customer's orders that count in reports."""
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
    """What is needed of a pool of asyncpg."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Sequence[Any]]:  # noqa: ANN401
        """All rows of a query."""


class AsyncCustomerReads:
    """The same for an event loop, over a pool of asyncpg, which stays its owner's.

    A connection is held for as long as a query takes; a hit needs none.
    """

    def __init__(self, pool: Pool, cache: Cache, ttl: float) -> None:
        """`ttl` is the seconds until a value is computed anew."""
        self._pool = pool
        lives = _lives(ttl)
        self._customer = cache.per_customer(name="customer", **lives)(self._load_customer)
        self._orders = cache.per_customer(name="customer_orders", **lives)(self._load_orders)
        self._summary = cache.per_customer(name="customer_summary", **lives)(self._load_summary)

    async def customer(self, customer_id: int) -> Customer | None:
        """The customer, or None if there is none with that id."""
        return await self._customer(customer_id)

    async def customer_orders(
        self, customer_id: int, limit: int = 20, before: Cursor | None = None
    ) -> list[Order]:
        """The customer's orders, newest first, those of one moment by id; at most `limit`.

        `before` is `(created_at, id)` of the last order of the page before.

        Raises:
            ValueError: `limit` is below 1 or above 1,000.
        """
        return await self._orders(customer_id, _bounded(limit), before)

    async def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Number, sum and latest date of the customer's orders that count in reports."""
        return await self._summary(customer_id)

    async def lookup(self, customer_ids: Collection[int]) -> list[Known]:
        """Those of these customers that there are, by id: straight from the database, by one query.

        Not cached: 1,000 customers of ten orders each take 8 to 34 ms so, nearly all of it for their
        orders' pages, where 2,000 concurrent reads take 45 to 260 ms if all are in the cache.
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


def _lives(ttl: float) -> dict[str, float]:
    return {"ttl": ttl, "stale": min(ttl, STALE), "negative_ttl": min(ttl, NEGATIVE_TTL)}


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MOST_ORDERS:
        raise ValueError(f"limit: a page has from 1 to {MOST_ORDERS:,} orders, not {limit:,}")
    return limit


def _page(
    customer_id: int, limit: int, before: Cursor | None
) -> tuple[Statement, dict[str, object]]:
    """The statement for a page of orders, and its values."""
    values: dict[str, object] = {"customer_id": customer_id, "most": limit}
    if before is None:
        return _FIRST_PAGE, values
    moment, order_id = before
    return _NEXT_PAGE, values | {"before": moment, "before_id": order_id}


_ID = sa.bindparam("customer_id", type_=sa.BigInteger)
_CURSOR = sa.tuple_(
    sa.bindparam("before", type_=orders.c.created_at.type),
    sa.bindparam("before_id", type_=sa.BigInteger),
)

_PAGE = (
    sa.select(*orders.c["id", "status", "total", "created_at", "updated_at"])
    .where(orders.c.customer_id == _ID)
    .order_by(orders.c.created_at.desc(), orders.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.BigInteger))
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

# The sums customer by customer, from the index: a hash of them would read all orders there are.
_LOOKUP = Statement(
    sa.select(*customers.c["id", "name", "email", "phone"], *_OF_EACH.c)
    .join(_OF_EACH, sa.true())
    .where(customers.c.id == sa.any_(sa.bindparam("customer_ids", type_=sa.ARRAY(sa.BigInteger))))
    .order_by(customers.c.id)
)
