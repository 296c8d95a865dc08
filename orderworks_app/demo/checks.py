"""The checks of the demo, each against a result that is computed independently."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from orderworks.core.redis import Redis
from orderworks.core.schema import orders, uncounted_statuses
from orderworks.reads import CustomerReads, CustomerSummary
from orderworks.reports import top_customers
from orderworks.reports.windows import Window
from orderworks.updates.messages import Verdict
from orderworks_app.demo.oracle import ExpectedOrders, OrderFields

FINAL = tuple(str(verdict) for verdict in Verdict if verdict is not Verdict.PARKED)


@dataclass(frozen=True)
class Proof:
    """One statement, whether it holds, and its figures."""

    statement: str
    holds: bool
    figures: str


def table_equals_oracle(engine: sa.Engine, oracle: ExpectedOrders) -> Proof:
    """Compare the orders table with an oracle that applied the same files and updates in memory."""
    stored = read_orders(engine)
    wrong = [
        key for key in stored.keys() | oracle.orders if stored.get(key) != oracle.orders.get(key)
    ]
    return Proof(
        "the orders table equals an independently computed oracle",
        not wrong,
        f"{len(stored):,} orders, {len(wrong):,} differ",
    )


def read_orders(engine: sa.Engine) -> dict[int, OrderFields]:
    """The whole orders table, by id."""
    query = sa.select(orders.c.id, orders.c.customer_id, orders.c.status, orders.c.total)
    with engine.connect() as connection:
        return {
            row.id: OrderFields(row.customer_id, row.status, row.total)
            for row in connection.execute(query)
        }


def updates_add_up(sent: int, verdicts: Mapping[str, int]) -> Proof:
    """Check that every accepted update has one final verdict."""
    settled = sum(verdicts[name] for name in FINAL)
    sums = ", ".join(f"{verdicts[name]:,} {name}" for name in FINAL if verdicts[name])
    return Proof(
        "accepted = applied + superseded + stale + duplicate + dead",
        sent == verdicts["accepted"] == settled,
        f"{sent:,} accepted = {sums}",
    )


def rows_add_up(summary: Mapping[str, Any], rows: int) -> Proof:
    """Check that every row of a file has one outcome."""
    names = ("applied", "unchanged", "stale", "superseded", "rejected")
    settled = sum(summary[name] for name in names)
    sums = ", ".join(f"{summary[name]:,} {name}" for name in names if summary[name])
    return Proof(
        f"each row of the {summary['kind']} file has one outcome",
        rows == summary["rows"] == settled,
        f"{rows:,} rows = {sums}",
    )


def cached_reads_equal_database(
    engine: sa.Engine, reads: CustomerReads, customer_ids: list[int]
) -> Proof:
    """Compare the cached read of each customer with the database."""
    actual = _summaries(engine)
    nothing = CustomerSummary(0, 0, 0, None)  # type: ignore[arg-type]  # zero is zero
    wrong = 0
    for customer_id in customer_ids:
        cached = reads.customer_summary(customer_id)
        true = actual.get(customer_id, nothing)
        wrong += (cached.orders, cached.total) != (true.orders, true.total)
    return Proof(
        "every cached read equals the database",
        not wrong,
        f"{len(customer_ids):,} customers read, {wrong:,} differ",
    )


def _summaries(engine: sa.Engine) -> dict[int, CustomerSummary]:
    query = (
        sa.select(orders.c.customer_id, sa.func.count(), sa.func.sum(orders.c.total))
        .where(orders.c.status.not_in(sa.select(uncounted_statuses.c.status)))
        .group_by(orders.c.customer_id)
    )
    with engine.connect() as connection:
        return {
            customer_id: CustomerSummary(customer_id, count, total, None)
            for customer_id, count, total in connection.execute(query)
        }


def reports_equal_sql(engine: sa.Engine, cache: Redis, depth: int) -> Proof:
    """Compare the published report of every window with SQL over the orders table."""
    wrong = []
    for window in Window:
        published = top_customers.published_report(cache, window)
        if published is None or published.rows != top_customers.compute(engine, window, depth).rows:
            wrong.append(str(window))
    return Proof(
        "the published reports equal SQL over the orders table",
        not wrong,
        f"{len(Window)} windows of up to {depth:,} customers"
        + (f", these differ: {', '.join(wrong)}" if wrong else ""),
    )
