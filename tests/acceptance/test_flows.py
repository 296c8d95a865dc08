"""Updates and imports, processed by real workers and beat, compared with oracles."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.reads import CustomerReads
from orderworks.reports.top_customers import Report, compute, published_report
from orderworks.reports.windows import Window
from orderworks.updates.messages import OrderUpdate
from producer import AsyncProducer, Producer
from tests.support.celery_inspection import is_drained, run
from tests.support.oracle import (
    Oracle,
    differences,
    make_rows,
    make_updates,
    read_orders,
    read_verdicts,
    write_orders,
)
from tests.support.processes import eventually

pytestmark = pytest.mark.usefixtures("worker_with_beat")

SENT = 50_000

PEOPLE = range(1001, 1101)
AGES = (0, 3, 20, 60, 200, 500)
"""Days: at least one for each window of the reports."""

COUNTS = ("applied", "unchanged", "stale", "superseded", "rejected")


@pytest.fixture
def settle(settings: Settings) -> Callable[[], bool]:
    """Wait until every accepted update is applied."""
    return lambda: eventually(lambda: is_drained(settings), 30, "updates wait")


@pytest.fixture
def reads(engine: sa.Engine, settings: Settings) -> CustomerReads:
    """Cached reads as apps have them."""
    return CustomerReads(engine, Cache.from_settings(settings), ttl=600)


@pytest.fixture
def imported(producer: Producer) -> None:
    """A hundred customers with orders of all ages. Files imported twice change nothing."""
    people = "id,name\n" + "".join(f"{key},Customer {key}\n" for key in PEOPLE)
    assert finished(producer, people, "customers")["rejected"] == 0
    assert finished(producer, orders_file(), "orders")["rejected"] == 0


def orders_file() -> str:
    """Orders 1,000,000 and on, ten a customer."""
    lines = ["id,customer_id,total,status,created_at,version"]
    now = datetime.now(UTC)
    for number in range(10 * len(PEOPLE)):
        created = now - timedelta(days=AGES[number % len(AGES)])
        status = "cancelled" if number % 7 == 0 else "paid"
        who, total = PEOPLE[number % len(PEOPLE)], f"{number * 37 % 1000}.{number % 100:02}"
        lines.append(f"{1_000_000 + number},{who},{total},{status},{created.isoformat()},5")
    return "\n".join(lines)


def finished(producer: Producer, file: str, kind: str) -> dict[str, int]:
    """Import a file, wait for its end, and give its counts, which add up to its rows."""
    summary = producer.import_file(file.encode(), kind=kind, again=True).wait(timeout=30)
    assert summary["status"] == "done", summary
    assert sum(summary[name] for name in COUNTS) == summary["rows"] == len(file.splitlines()) - 1
    return {name: summary[name] for name in COUNTS}


def test_fifty_thousand_updates_end_as_if_applied_one_by_one(
    engine: sa.Engine, producer: Producer, settle: Callable[[], bool]
) -> None:
    rows = make_rows(20_000)
    write_orders(engine, rows)
    oracle, updates = Oracle(rows), make_updates(rows, SENT, seed=1)
    before = read_verdicts(engine)
    assert producer.update_many(updates) == SENT
    oracle.take(updates)
    settle()
    found = {key: row for key, row in read_orders(engine).items() if key in rows}
    assert not differences(found, oracle.rows)
    assert read_verdicts(engine) - before == oracle.verdicts
    assert min(oracle.verdicts.values()) > 500, "each verdict was to be given"


def test_tracked_updates_get_their_verdicts(engine: sa.Engine, producer: Producer) -> None:
    write_orders(engine, {9_000_001: (9_000_001, "new", Decimal(1), 5)})
    update = OrderUpdate(order_id=9_000_001, total=2, version=6)
    verdicts = [producer.update(update, track=True).wait(timeout=20) for _try in range(2)]
    assert verdicts == ["applied", "duplicate"]
    older = OrderUpdate(order_id=9_000_001, total=3, version=4)

    async def track() -> str:
        async with AsyncProducer.from_settings() as asynchronous:
            receipt = await asynchronous.update(older, track=True)
            return await receipt.wait(timeout=20)

    assert asyncio.run(track()) == "stale"


def test_files_are_imported_and_every_row_is_accounted_for(
    engine: sa.Engine, producer: Producer
) -> None:
    people = "id,name,email\n2001,Ada,ada@example.com\n2002,Bob,\nx,Eve,\n"
    assert finished(producer, people, "customers") == counts(applied=2, rejected=1)
    file = (
        "id,customer_id,total\n3000001,2001,5\n3000002,2002,7.5\n3000002,2002,8\n3000003,999999,1\n"
    )
    assert finished(producer, file, "orders") == counts(applied=2, superseded=1, rejected=1)
    found = read_orders(engine)
    assert found[3000001][:3] == (2001, "new", Decimal(5))
    assert found[3000002][:3] == (2002, "new", Decimal(8))
    assert 3000003 not in found


def counts(**some: int) -> dict[str, int]:
    """The counts of an import, of which those not given are 0."""
    return {**dict.fromkeys(COUNTS, 0), **some}


@pytest.mark.usefixtures("imported")
def test_the_reports_that_beat_keeps_equal_sql(
    engine: sa.Engine, cache: Redis, settings: Settings
) -> None:
    now = datetime.now(UTC)

    def fresh() -> list[Report]:
        reports = [published_report(cache, window) for window in Window]
        return [report for report in reports if report and report.as_of > now]

    eventually(lambda: len(fresh()) == len(Window), 10, "beat refreshes them")
    for report in fresh():
        assert report.rows == compute(engine, report.window, settings.report_depth).rows
        assert len(report.rows) >= len(PEOPLE) // len(AGES), "there was something to compare"


@pytest.mark.usefixtures("imported")
def test_no_read_is_older_than_an_applied_update(
    producer: Producer, reads: CustomerReads, settle: Callable[[], bool]
) -> None:
    for number in range(20):
        old, new = PEOPLE[number], PEOPLE[number + 1]
        order_id = 1_000_000 + number
        before = [reads.customer_summary(who) for who in (old, new)]
        assert order_id in [order.id for order in reads.customer_orders(old)]
        update = OrderUpdate(order_id=order_id, customer_id=new, total=10**6, status="paid")
        producer.update(update)
        settle()
        assert order_id not in [order.id for order in reads.customer_orders(old)]
        assert order_id in [order.id for order in reads.customer_orders(new)]
        after = [reads.customer_summary(who) for who in (old, new)]
        assert before[1] != after[1]
        assert after[1].total >= before[1].total + 10**6 - 1000


@pytest.mark.usefixtures("imported")
def test_a_change_by_plain_sql_is_seen_after_the_next_refresh(
    engine: sa.Engine, reads: CustomerReads
) -> None:
    who = PEOPLE[-1]
    before = reads.customer_summary(who)
    customer = reads.customer(who)
    assert customer == reads.customer(who)
    run(
        engine,
        f"UPDATE orders SET total = total + 1, status = 'paid' WHERE customer_id = {who}",
        f"UPDATE customers SET name = 'Renamed' WHERE id = {who}",
    )
    eventually(lambda: reads.customer(who) != customer, 10, "the old name is still read")
    after = reads.customer_summary(who)
    assert after.orders == 10
    assert after.total > before.total
