"""Cached reads that never outlive the data they came from.

All cached reads of a customer are fields of one Redis hash, beside a random token. A reader takes the
token before it queries (making one if there is none); its answer is stored only if the same token is
still there, in one server-side step. Invalidation removes the hash: so no slow reader can put old data
back, nor can eviction.

With Redis away, reads go on from the database.
"""

import random
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Self, TypeVar

import msgspec
import redis
import sqlalchemy as sa

from orders import names
from orders.database import make_engine
from orders.redis import Redis, make_redis
from orders.schema import customers, orders, uncounted_statuses
from orders.settings import Settings

UNLINK_KEYS = 1000
"""Keys in one UNLINK; the server answers others between two of them."""

T = TypeVar("T")

# The token of the hash; a new one, and with it the hash's time to live, if there is none.
_BEGIN = """
local token = redis.call('HGET', KEYS[1], 'token')
if token then return token end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return ARGV[1]
"""

_STORE = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
"""


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


def invalidate(client: Redis, customer_ids: Collection[int]) -> None:
    """Make every cached read of these customers disappear. Call it after the commit.

    Raises:
        redis.RedisError: some may still be there.
    """
    keys = [names.customer_cache(customer_id) for customer_id in customer_ids]
    for start in range(0, len(keys), UNLINK_KEYS):
        client.unlink(*keys[start : start + UNLINK_KEYS])


class CustomerReads:
    """Reads of one customer, cached until anything about the customer changes.

    Make one per process and share it among threads.
    """

    def __init__(self, engine: sa.Engine, client: Redis, ttl: int) -> None:
        """`ttl` is the longest life of a cached read, in seconds."""
        self._engine = engine
        self._client = client
        self._ttl = ttl
        self._take_token = client.register_script(_BEGIN)
        self._store = client.register_script(_STORE)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Reads over connections of its own, addressed by the environment."""
        settings = settings or Settings.load()
        return cls(
            make_engine(settings, "orderworks-reads"),
            make_redis(settings.cache, settings.redis_timeout),
            settings.cache_ttl,
        )

    def customer(self, customer_id: int) -> Customer | None:
        """The customer, or None if there is none with that id."""
        return self._cached(
            customer_id, "customer", Customer | None, lambda: self._load_customer(customer_id)
        )

    def customer_orders(self, customer_id: int, limit: int = 20) -> list[Order]:
        """The customer's newest orders, newest first."""
        return self._cached(
            customer_id,
            f"orders:{limit}",
            list[Order],
            lambda: self._load_orders(customer_id, limit),
        )

    def customer_summary(self, customer_id: int) -> CustomerSummary:
        """Number, sum and latest date of the customer's orders that count in reports."""
        return self._cached(
            customer_id, "summary", CustomerSummary, lambda: self._load_summary(customer_id)
        )

    def _cached(self, customer_id: int, field: str, kind: object, load: Callable[[], T]) -> T:
        """The cached field, or what `load` gives, stored unless the customer changed meanwhile."""
        key = names.customer_cache(customer_id)
        try:
            token, found = self._client.hmget(key, "token", field)
            if found is not None:
                cached: T = msgspec.json.decode(found, type=kind)
                return cached
            token = token or self._new_token(key)
        except redis.RedisError:
            return load()
        value = load()
        with suppress(redis.RedisError):  # The value is right all the same.
            self._store([key], [token, field, msgspec.json.encode(value)])
        return value

    def _new_token(self, key: str) -> bytes:
        """Begin a generation. Its life is shortened at random so that many do not end at once."""
        ttl = max(1, int(self._ttl * random.uniform(0.8, 1)))  # noqa: S311 - spreads load only
        token: bytes = self._take_token([key], [secrets.token_hex(8), ttl])
        return token

    def _load_customer(self, customer_id: int) -> Customer | None:
        query = sa.select(*customers.c["id", "name", "email", "phone"]).where(
            customers.c.id == customer_id
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Customer(*row)

    def _load_orders(self, customer_id: int, limit: int) -> list[Order]:
        query = (
            sa.select(*orders.c["id", "status", "total", "created_at", "updated_at"])
            .where(orders.c.customer_id == customer_id)
            .order_by(orders.c.created_at.desc(), orders.c.id.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [Order(*row) for row in connection.execute(query)]

    def _load_summary(self, customer_id: int) -> CustomerSummary:
        query = sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(orders.c.total), 0),
            sa.func.max(orders.c.created_at),
        ).where(
            orders.c.customer_id == customer_id,
            orders.c.status.not_in(sa.select(uncounted_statuses.c.status)),
        )
        with self._engine.connect() as connection:
            count, total, last = connection.execute(query).one()
        return CustomerSummary(customer_id, count, total, last)
