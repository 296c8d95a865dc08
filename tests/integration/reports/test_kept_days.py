"""The kept days: those that no window needs are deleted in steps, and restored when one needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.schema import customer_daily, customers, orders, report_windows
from orderworks.reports import rollups
from orderworks.reports.fold import fold_batch
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import compute, published_report
from orderworks.reports.windows import Window
from tests.support.celery_inspection import run

DEPTH = 5
AGES = range(0, 900, 20)
"""Ages in days; of each there is one order."""

DAY = "(created_at AT TIME ZONE 'UTC')::date"


@pytest.fixture
def unfolded_orders(engine: sa.Engine, cache: Redis) -> None:
    """Create one customer with orders of more than two years, which are not folded yet."""
    refreshed(engine, cache)
    now = datetime.now(UTC)
    lines = [
        {"id": 1 + age, "customer_id": 1, "total": 1 + age, "created_at": now - timedelta(days=age)}
        for age in AGES
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=1, name="Ada"))
        connection.execute(sa.insert(orders), lines)


def refreshed(engine: sa.Engine, cache: Redis) -> None:
    """Refresh, and compare every report with SQL."""
    assert refresh(engine, cache, lambda _ids: None, DEPTH)
    for window in Window:
        published = published_report(cache, window)
        assert published
        assert published.rows == compute(engine, window, DEPTH).rows


def days(engine: sa.Engine) -> list[date]:
    """Return the days that have rows."""
    with engine.connect() as connection:
        return sorted(connection.scalars(sa.select(customer_daily.c.day)))


def first_kept(engine: sa.Engine) -> date:
    """Return the first kept day."""
    first = sa.select(report_windows.c.first_day).where(report_windows.c.days == 0)
    with engine.connect() as connection:
        found: date = connection.execute(first).scalar_one()
    return found


def kept_is_right(engine: sa.Engine) -> bool:
    """Return whether the kept days equal those of the orders."""
    right = (
        f"SELECT customer_id, {DAY}, count(*), sum(total) FROM orders "
        f"WHERE {DAY} >= :first GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found = (
        "SELECT customer_id, day, orders, total FROM customer_daily "
        "WHERE day >= :first AND orders <> 0 ORDER BY 1, 2"
    )
    first = {"first": first_kept(engine)}
    with engine.connect() as connection:
        lists = [connection.execute(sa.text(query), first).all() for query in (found, right)]
    return lists[0] == lists[1]


@contextmanager
def folding(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a transaction that may write rollups."""
    with engine.begin() as connection:
        assert try_lock(connection, Lock.FOLD)
        yield connection


def as_in(engine: sa.Engine, days: int) -> None:
    """Set the state after a refresh whose clock is this number of days ahead."""
    with folding(engine) as connection:
        as_of = datetime.now(UTC) + timedelta(days=days)
        assert rollups.move_windows(connection, as_of, DEPTH)


def test_fold_adds_no_day_outside_all_windows(
    engine: sa.Engine, cache: Redis, unfolded_orders: None
) -> None:
    with folding(engine) as connection:
        assert fold_batch(connection).entries
    today = datetime.now(UTC).date()
    assert first_kept(engine) == today - timedelta(days=rollups.KEPT_DAYS)
    assert days(engine) == sorted(
        today - timedelta(days=age) for age in AGES if age <= rollups.KEPT_DAYS
    )
    refreshed(engine, cache)


def test_refresh_deletes_a_bounded_number_of_old_rows_and_still_publishes(
    engine: sa.Engine, cache: Redis, unfolded_orders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The state of the previous release: every day has its row.
    run(engine, "UPDATE report_windows SET first_day = '0001-01-01' WHERE days = 0")
    monkeypatch.setattr("orderworks.reports.rollups.MAX_MOVED_ROWS", 10)
    left = []
    for _ in range(4):
        refreshed(engine, cache)
        left.append(sum(day < first_kept(engine) for day in days(engine)))
    old = sum(age > rollups.KEPT_DAYS for age in AGES)
    assert left == [max(0, old - 10 * times) for times in range(1, 5)]
    assert left[-1] == 0
    assert kept_is_right(engine)


def test_order_moved_between_old_and_recent_day_is_counted_on_its_current_day(
    engine: sa.Engine, cache: Redis, unfolded_orders: None
) -> None:
    refreshed(engine, cache)
    for change in (
        "UPDATE orders SET created_at = created_at - interval '500 days' WHERE id = 21",
        "UPDATE orders SET created_at = created_at + interval '500 days' WHERE id IN (21, 501)",
        "DELETE FROM orders WHERE id IN (1, 881)",
    ):
        run(engine, change)
        refreshed(engine, cache)
        assert kept_is_right(engine)


def test_deleted_days_are_recounted_after_clock_is_set_far_back(
    engine: sa.Engine, cache: Redis, unfolded_orders: None
) -> None:
    refreshed(engine, cache)
    as_in(engine, days=100)
    assert first_kept(engine) == datetime.now(UTC).date() - timedelta(days=rollups.KEPT_DAYS - 100)
    refreshed(engine, cache)
    assert first_kept(engine) == datetime.now(UTC).date() - timedelta(days=rollups.KEPT_DAYS)
    assert kept_is_right(engine)


def test_pending_log_entries_are_not_counted_twice_on_recount(
    engine: sa.Engine, cache: Redis, unfolded_orders: None
) -> None:
    refreshed(engine, cache)
    as_in(engine, days=100)
    # Days that were deleted and have to be restored.
    run(engine, "UPDATE orders SET total = total + 7 WHERE id IN (341, 381)")
    as_in(engine, days=0)
    with folding(engine) as connection:
        assert fold_batch(connection).entries
    assert kept_is_right(engine)
    refreshed(engine, cache)


def test_leftover_rows_of_deleted_days_are_not_reused(
    engine: sa.Engine, cache: Redis, unfolded_orders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed(engine, cache)
    monkeypatch.setattr("orderworks.reports.rollups.MAX_MOVED_ROWS", 100)
    as_in(engine, days=100)
    run(
        engine,
        f"INSERT INTO customer_daily SELECT customer_id, {DAY}, 5, 5 FROM orders WHERE id = 381",
        "INSERT INTO customer_daily SELECT 9, current_date - 390, 5, 5",
    )
    refreshed(engine, cache)
    assert kept_is_right(engine)


def test_clock_set_back_by_weeks_queries_no_orders(
    engine: sa.Engine, cache: Redis, unfolded_orders: None
) -> None:
    refreshed(engine, cache)
    as_in(engine, days=30)
    before, asked = first_kept(engine), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    as_in(engine, days=0)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert asked
    assert not [statement for statement in asked if "FROM orders" in statement]
    assert first_kept(engine) == before
    refreshed(engine, cache)
