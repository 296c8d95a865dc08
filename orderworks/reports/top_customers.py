"""The top-customers report: what it is, and how it is read. `reports.refresh` keeps it published.

Orders whose status stands in `uncounted_statuses` count in no report.
"""

import time
from datetime import datetime
from decimal import Decimal
from typing import Self

import msgspec
import redis
import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import customers, orders, uncounted_statuses
from orderworks.core.settings import Settings
from orderworks.reports.windows import Window

COMPUTED_TTL = 30.0
"""Seconds that a report is given which had to be computed, if no order changes before."""

PAGE_SIZES = (10, 100)
"""So many of the first lines are published once more apart: few readers want them all."""


class TopCustomer(msgspec.Struct, frozen=True):
    """One line of the report; `total` is money with two decimals."""

    customer_id: int
    name: str
    orders: int
    total: Decimal


class Shown(msgspec.Struct, frozen=True):
    """A report as a JSON document; its attributes are those of `Report`, to the millisecond."""

    window: Window
    as_of: datetime
    watermark: str
    seconds: float
    rows: list[TopCustomer]


class Report(msgspec.Struct, frozen=True):
    """A report, published or computed.

    Attributes:
        as_of: whatever was committed before this moment is in it.
        watermark: it has the transactions that this snapshot shows, and no other one; ask PostgreSQL's
            `pg_visible_in_snapshot` whether yours is among them.
        seconds: what it cost to compute, or to refresh with those of all other windows.
        rows: highest total first, ties by customer id.
        complete: whether every customer with orders is listed, not only the highest.
    """

    window: Window
    as_of: datetime
    watermark: str
    seconds: float
    rows: list[TopCustomer]
    complete: bool

    def sliced(self, limit: int, min_orders: int) -> "Report | None":
        """The first `limit` customers of at least `min_orders` orders; None if some are not listed."""
        found = self.cut(limit, min_orders)
        return found if len(found.rows) == limit or self.complete else None

    def cut(self, limit: int, min_orders: int) -> "Report":
        """The first `limit` of those that are listed and have at least `min_orders` orders."""
        rows = [row for row in self.rows if row.orders >= min_orders][:limit]
        return msgspec.structs.replace(self, rows=rows, complete=False)

    def shown(self) -> Shown:
        """What a program is shown of it."""
        return Shown(self.window, self.as_of, self.watermark, round(self.seconds, 3), self.rows)


class Head(msgspec.Struct, frozen=True):
    """What is published beside the lines, and moves on where they stay the same."""

    as_of: datetime
    watermark: str
    seconds: float
    lines: int
    complete: bool


_LINES = msgspec.json.Decoder(list[TopCustomer])
_HEAD = msgspec.json.Decoder(Head)


class TopCustomers:
    """Reads of the report. Make one per process and share it among threads."""

    def __init__(self, engine: sa.Engine, client: Redis, cache: Cache) -> None:
        """`client` is for what is published, `cache` for what has to be computed."""
        self._engine = engine
        self._client = client
        self._computed = cache.shared(ttl=COMPUTED_TTL, name="top_customers")(self._compute)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Reads over connections of its own, addressed by the environment."""
        settings = settings or Settings.load()
        engine = make_engine(settings, "orderworks-reads")
        client = make_redis(settings.cache, settings.cache_timeout)
        return cls(engine, client, Cache.from_settings(settings))

    def read(self, window: Window, limit: int = 10, min_orders: int = 1) -> Report:
        """The first `limit` customers of at least `min_orders` orders.

        They are those of the published report, however old it is. What it cannot answer is computed from
        the orders, by one reader for all; while PostgreSQL is away, or all connections are taken, it is
        what the published one has. A server that is frozen is waited for: what bounds a query is the
        server's own `statement_timeout`, and its host goes on to acknowledge what is sent.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: nothing is published, and PostgreSQL is away or has no
                connection to give.
        """
        published = self._published(window, limit)
        found = published and published.sliced(limit, min_orders)
        if published and not found:
            published = self._published(window)
            found = published and published.sliced(limit, min_orders)
        if found:
            return found
        try:
            return self._computed(window.value, limit, min_orders)
        except sa.exc.SQLAlchemyError:
            if published is None:
                raise
            return published.cut(limit, min_orders)

    def _published(self, window: Window, limit: int | None = None) -> Report | None:
        try:
            return published_report(self._client, window, limit)
        except redis.RedisError:
            return None

    def _compute(self, window: str, limit: int, min_orders: int) -> Report:
        return compute(self._engine, Window(window), limit, min_orders)


def published_report(client: Redis, window: Window, limit: int | None = None) -> Report | None:
    """The report that the last refresh left, as deep as `REPORT_DEPTH`.

    With `most`, only its first lines, that many or some more.
    """
    key = keys.top_customers_report(window)
    head, lines = client.hmget(key, "head", page_field(limit))
    if head is None or lines is None:
        return None
    known, rows = _HEAD.decode(head), _LINES.decode(lines)
    complete = known.complete and len(rows) == known.lines
    return Report(window, known.as_of, known.watermark, known.seconds, rows, complete)


def page_field(limit: int | None) -> str:
    """The field of the published report that has so many lines; all of them for None."""
    fits = [page for page in PAGE_SIZES if limit is not None and limit <= page]
    return f"lines:{fits[0]}" if fits else "lines"


def compute(engine: sa.Engine, window: Window, limit: int, min_orders: int = 1) -> Report:
    """The report straight from the orders table: slow, and what every published one must equal."""
    began = time.perf_counter()
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.connect() as connection:
        as_of, watermark = connection.execute(MOMENT).one()
        query = top_customers_query(window, as_of, limit, min_orders)
        rows = [TopCustomer(*row) for row in connection.execute(query)]
    seconds = time.perf_counter() - began
    return Report(window, as_of, watermark, seconds, rows, complete=False)


MOMENT = sa.select(sa.func.now(), sa.cast(sa.func.pg_current_snapshot(), sa.Text))
"""The transaction's time, and what is visible now."""


def top_customers_query(
    window: Window, as_of: datetime, limit: int, min_orders: int = 1
) -> sa.Select[int, str, int, Decimal]:
    """The oracle: customers joined to their orders, summed, the highest totals first."""
    count, total = sa.func.count(), sa.func.sum(orders.c.total)
    query = (
        sa.select(customers.c.id, customers.c.name, count, total)
        .join(orders, orders.c.customer_id == customers.c.id)
        .where(orders.c.status.not_in(sa.select(uncounted_statuses.c.status)))
        .group_by(customers.c.id)
        .having(count >= min_orders)
        .order_by(total.desc(), customers.c.id)
        .limit(limit)
    )
    if window is not Window.ALL:
        query = query.where(orders.c.created_at >= window.first_moment(as_of))
    return query
