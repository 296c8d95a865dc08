"""The top-customers report: what it is, and how it is read. `orders.refresh` keeps it published.

Orders whose status stands in `uncounted_statuses` count in no report.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal

import msgspec
import redis
import sqlalchemy as sa

from orders import names
from orders.redis import Redis
from orders.schema import customers, orders, uncounted_statuses
from orders.windows import Window

PAGES = (10, 100)
"""So many of the first lines are published once more apart: few readers want them all."""


class TopCustomer(msgspec.Struct, frozen=True):
    """One line of the report; `total` is money with two decimals."""

    customer_id: int
    name: str
    orders: int
    total: Decimal


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
    rows: Sequence[TopCustomer]
    complete: bool

    def sliced(self, limit: int, min_orders: int) -> "Report | None":
        """The first `limit` customers of at least `min_orders` orders; None if some are not listed."""
        rows = [row for row in self.rows if row.orders >= min_orders][:limit]
        if len(rows) < limit and not self.complete:
            return None
        return msgspec.structs.replace(self, rows=rows, complete=False)


class Head(msgspec.Struct, frozen=True):
    """What is published beside the lines, and moves on where they stay the same."""

    as_of: datetime
    watermark: str
    seconds: float
    lines: int
    complete: bool


_LINES = msgspec.json.Decoder(list[TopCustomer])
_HEAD = msgspec.json.Decoder(Head)


def top_customers(
    engine: sa.Engine, client: Redis, window: Window, limit: int = 10, min_orders: int = 1
) -> Report:
    """The published report, however old; straight from the orders table where none can answer."""
    with suppress(redis.RedisError):
        for most in (limit, None):
            published = published_report(client, window, most)
            found = published and published.sliced(limit, min_orders)
            if found:
                return found
    return compute(engine, window, limit, min_orders)


def published_report(client: Redis, window: Window, most: int | None = None) -> Report | None:
    """The report that the last refresh left, as deep as `REPORT_DEPTH`.

    With `most`, only its first lines, that many or some more.
    """
    key = names.top_customers_report(window)
    head, lines = client.hmget(key, "head", page_of(most))
    if head is None or lines is None:
        return None
    known, rows = _HEAD.decode(head), _LINES.decode(lines)
    complete = known.complete and len(rows) == known.lines
    return Report(window, known.as_of, known.watermark, known.seconds, rows, complete)


def page_of(most: int | None) -> str:
    """The field of the published report that has so many lines; all of them for None."""
    fits = [page for page in PAGES if most is not None and most <= page]
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
