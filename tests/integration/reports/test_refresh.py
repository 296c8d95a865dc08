"""Reports: after any change of the orders, the published list equals that of SQL."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa

from orderworks import cache as cached
from orderworks.cache import Cache
from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import customer_changes, customers, orders
from orderworks.core.settings import Settings
from orderworks.reports.publisher import publish
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import (
    Report,
    TopCustomer,
    TopCustomers,
    compute,
    published_report,
)
from orderworks.reports.windows import Window
from tests.support.celery_inspection import run
from tests.support.processes import eventually

DEPTH = 50

Refresh = Callable[[], None]


LOG_COLUMNS = "entries int, customer_ids bigint[], days date[], orders int[], totals numeric[]"


@pytest.fixture
def six_hundred_orders(engine: sa.Engine) -> None:
    """Create thirty customers with six hundred orders of the last 400 days, some of them cancelled."""
    dice = random.Random(7)
    now = datetime.now(UTC)
    placed = [
        {
            "id": key,
            "customer_id": dice.randint(1, 30),
            "total": Decimal(dice.randint(0, 10**6)) / 100,
            "status": dice.choice(["new", "paid", "cancelled"]),
            "created_at": now - timedelta(days=dice.randint(0, 400)),
        }
        for key in range(1, 601)
    ]
    with engine.begin() as connection:
        connection.execute(
            sa.insert(customers), [{"id": key, "name": f"Customer {key}"} for key in range(1, 31)]
        )
        # The log gets a row per statement.
        for first in range(0, len(placed), 10):
            connection.execute(sa.insert(orders), placed[first : first + 10])


@pytest.fixture
def refreshed(engine: sa.Engine, cache: Redis, six_hundred_orders: None) -> Refresh:
    """A function that refreshes and compares every window with the oracle."""

    def run() -> None:
        refresh(engine, cache, lambda ids: cached.invalidate(cache, ids), DEPTH)
        for window in Window:
            published = published_report(cache, window)
            assert published is not None
            assert published.rows == compute(engine, window, DEPTH).rows

    return run


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET total = total * 2 WHERE id % 3 = 0",
        "UPDATE orders SET customer_id = customer_id % 30 + 1",
        "UPDATE orders SET status = 'cancelled' WHERE id % 2 = 0",
        "UPDATE orders SET status = 'paid'",
        "UPDATE orders SET created_at = created_at - interval '10 days'",
        "UPDATE orders SET id = id + 1000, customer_id = 1 WHERE id % 5 = 0",
        "DELETE FROM orders WHERE customer_id % 2 = 0",
        "DELETE FROM orders",
        "TRUNCATE orders",
        "TRUNCATE customers CASCADE",
        "UPDATE customers SET name = 'New name ' || id",
        "INSERT INTO orders (id, customer_id, total) SELECT 5000 + g, 3, g FROM generate_series(1, 9) g",
    ],
)
def test_after_any_change_every_window_equals_sql(
    engine: sa.Engine, refreshed: Refresh, change: str
) -> None:
    refreshed()
    with engine.begin() as connection:
        connection.execute(sa.text(change))
    refreshed()


def test_changes_by_any_role_allowed_to_write_are_logged(
    engine: sa.Engine, admin: sa.Engine, refreshed: Refresh, settings: Settings
) -> None:
    refreshed()
    role = f"clerk_{sa.make_url(settings.database).database}"
    with admin.connect() as superuser:
        superuser.execute(sa.text(f"CREATE ROLE {role}"))
    with engine.begin() as connection:
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {role}"))
        connection.execute(sa.text(f"GRANT SELECT, UPDATE ON orders, customers TO {role}"))
    url = sa.make_url(admin.url).set(database=sa.make_url(settings.database).database)
    clerk = sa.create_engine(url)
    with clerk.begin() as connection:
        connection.execute(sa.text(f"SET ROLE {role}"))
        connection.execute(sa.text("SET search_path = ''"))
        # PostgreSQL resolves names to temporary tables first unless search_path lists pg_temp.
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE change_log ({LOG_COLUMNS})"))
        connection.execute(sa.text("CREATE TEMPORARY TABLE uncounted_statuses (status text)"))
        connection.execute(sa.text("UPDATE public.orders SET total = 5"))
    clerk.dispose()
    refreshed()
    with engine.begin() as connection:
        connection.execute(sa.text(f"REVOKE ALL ON orders, customers FROM {role}"))
        connection.execute(sa.text(f"REVOKE ALL ON SCHEMA public FROM {role}"))
    with admin.connect() as superuser:
        superuser.execute(sa.text(f"DROP ROLE {role}"))


def test_ties_are_broken_by_id(engine: sa.Engine, refreshed: Refresh, cache: Redis) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE orders SET total = 1, status = 'new'"))
        connection.execute(sa.text("DELETE FROM orders WHERE id > 30"))
        connection.execute(sa.text("UPDATE orders SET customer_id = 31 - id"))
    refreshed()
    published = published_report(cache, Window.ALL)
    assert published is not None
    assert [row.customer_id for row in published.rows] == list(range(1, 31))


def test_report_counts_exactly_what_was_committed_before_as_of(
    engine: sa.Engine, refreshed: Refresh, cache: Redis
) -> None:
    refreshed()
    with engine.begin() as connection:
        connection.execute(sa.insert(customers).values(id=99, name="Last minute"))
        connection.execute(sa.insert(orders).values(id=9999, customer_id=99, total=10**9))
        committed = connection.execute(sa.select(sa.func.now())).scalar_one()
    refreshed()
    published = published_report(cache, Window.DAY)
    assert published is not None
    assert published.as_of > committed
    assert published.rows[0].name == "Last minute"


def test_late_older_refresh_overwrites_nothing(cache: Redis) -> None:
    now = datetime.now(UTC)
    ada = TopCustomer(1, "Ada", 1, Decimal("1.00"))
    report = Report(Window.ALL, now, "1:1:", 0.5, [ada], complete=True)
    older = msgspec.structs.replace(report, as_of=now - timedelta(seconds=1), rows=[])
    assert publish(cache, [report], number=8) == 1
    assert publish(cache, [older], number=7) == 0
    assert published_report(cache, Window.ALL) == report


def test_report_from_a_clock_ahead_does_not_block_publishing(
    engine: sa.Engine, cache: Redis, refreshed: Refresh
) -> None:
    refreshed()
    ahead = published_report(cache, Window.ALL)
    assert ahead
    ahead = msgspec.structs.replace(ahead, as_of=ahead.as_of + timedelta(hours=1), rows=[])
    number = int(cache.hget(keys.top_customers_report(Window.ALL), "pass") or 0)
    assert publish(cache, [ahead], number) == 1
    refreshed()


def test_second_refresh_does_nothing_between_passes_of_the_first(
    engine: sa.Engine, cache: Redis, six_hundred_orders: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks.reports.fold.MAX_FOLD_ENTRIES", 10)
    second: list[object] = []

    def meanwhile(_ids: object) -> None:
        second.append(refresh(engine, cache, lambda _ids: None, DEPTH))

    first = refresh(engine, cache, meanwhile, DEPTH)
    assert first
    assert len(second) > 5
    assert second == [None] * len(second)


def test_refresh_without_changes_only_updates_as_of(
    engine: sa.Engine, cache: Redis, refreshed: Refresh
) -> None:
    refreshed()
    before = published_report(cache, Window.ALL)
    key = keys.top_customers_report(Window.ALL)
    cache.hset(key, "lines:10", b"[]")
    with engine.begin() as connection:
        # Orders that do not count: of only thirty customers any other change might reach a list.
        connection.execute(
            sa.text("UPDATE orders SET total = total + 1 WHERE status = 'cancelled'")
        )
    again = refresh(engine, cache, lambda _ids: None, DEPTH)
    after = published_report(cache, Window.ALL)
    assert before
    assert after
    assert again
    assert (again.published, after.rows) == (0, before.rows)
    assert after.as_of > before.as_of
    assert cache.hget(key, "lines:10") == b"[]", "the lines were not written again"


FLOOR = "SELECT floor FROM report_windows WHERE days = 0"
RANKED = "SELECT count(ranked) FROM customer_totals"


@pytest.fixture
def add_orders(
    engine: sa.Engine, cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """A function that adds an order per customer of a range, and refreshes in passes of ten entries."""
    monkeypatch.setattr("orderworks.reports.ranking.RANKED_FACTOR", 2)
    monkeypatch.setattr("orderworks.reports.fold.MAX_FOLD_ENTRIES", 10)
    people = "SELECT g, 'Customer' FROM generate_series(1, 30) g"
    run(engine, f"INSERT INTO customers (id, name) {people}")

    def do(first: int, last: int) -> None:
        lines = f"SELECT g, g, g FROM generate_series({first}, {last}) g"
        run(engine, f"INSERT INTO orders (id, customer_id, total) {lines}")
        assert refresh(engine, cache, lambda _ids: None, depth=3)

    return do


def test_first_import_ranks_only_customers_that_may_be_listed(
    engine: sa.Engine, add_orders: Callable[..., None]
) -> None:
    add_orders(1, 0)
    add_orders(1, 30)
    with engine.connect() as connection:
        assert connection.scalar(sa.text(RANKED)) == 2 * 3 + 1


def test_ranking_floor_is_recomputed_after_an_import(
    engine: sa.Engine, add_orders: Callable[..., None]
) -> None:
    add_orders(1, 2)
    add_orders(3, 30)
    with engine.connect() as connection:
        assert connection.scalar(sa.text(FLOOR)) == 30 - 2 * 3


def test_refresh_does_nothing_while_another_is_running(
    engine: sa.Engine, cache: Redis, six_hundred_orders: None
) -> None:
    with engine.begin() as other:
        assert try_lock(other, Lock.REFRESH)
        assert refresh(engine, cache, lambda _ids: None, DEPTH) is None


@pytest.fixture
def report_reads(settings: Settings) -> TopCustomers:
    """Reads of the report."""
    return TopCustomers.from_settings(settings)


def test_one_reader_computes_for_all_when_no_report_is_published(
    engine: sa.Engine, settings: Settings, cache: Redis, six_hundred_orders: None
) -> None:
    assert published_report(cache, Window.ALL) is None
    slow = make_engine(settings, "orderworks-test")
    queries: list[str] = []
    readers: list[int] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "GROUP BY" in statement:
            queries.append(statement)
            eventually(lambda: len(readers) == 10, 10, "other readers do not come")

    sa.event.listen(slow, "before_cursor_execute", note)
    slow_reads = TopCustomers(slow, cache, Cache.from_settings(settings))

    def read(number: int) -> Report:
        readers.append(number)
        return slow_reads.read(Window.ALL, 5)

    with ThreadPoolExecutor(10) as pool:
        found = [*pool.map(read, range(10))]
    slow.dispose()
    assert len(queries) == 1
    assert all(each.rows == compute(engine, Window.ALL, 5).rows for each in found)


def test_computed_report_is_invalidated_by_any_change(
    engine: sa.Engine, report_reads: TopCustomers, cache: Redis, six_hundred_orders: None
) -> None:
    before = report_reads.read(Window.ALL, 5)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE orders SET total = total + 1"))
    cached.invalidate(cache, [1])
    assert (
        before.rows != report_reads.read(Window.ALL, 5).rows == compute(engine, Window.ALL, 5).rows
    )


def test_last_published_report_is_returned_without_postgresql(
    engine: sa.Engine, settings: Settings, cache: Redis, six_hundred_orders: None
) -> None:
    refresh(engine, cache, lambda _ids: None, depth=3)
    nowhere = sa.create_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    report_reads = TopCustomers(nowhere, cache, Cache.from_settings(settings))
    published = published_report(cache, Window.ALL)
    assert published
    deeper = report_reads.read(Window.ALL, 10)
    assert (deeper.rows, deeper.as_of) == (published.rows, published.as_of)
    assert report_reads.read(Window.ALL, 2).rows == published.rows[:2]
    cache.flushdb()
    with pytest.raises(sa.exc.DBAPIError):
        report_reads.read(Window.ALL, 2)


def test_last_published_report_is_returned_when_connections_are_exhausted(
    engine: sa.Engine, settings: Settings, cache: Redis, six_hundred_orders: None
) -> None:
    refresh(engine, cache, lambda _ids: None, depth=3)
    narrow = sa.create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    report_reads = TopCustomers(narrow, cache, Cache.from_settings(settings))
    published = published_report(cache, Window.ALL)
    assert published
    with narrow.connect():
        assert report_reads.read(Window.ALL, 10).rows == published.rows
        cache.flushdb()
        with pytest.raises(sa.exc.TimeoutError):
            report_reads.read(Window.ALL, 10)
    narrow.dispose()


def test_report_is_computed_from_orders_without_cache(
    engine: sa.Engine, six_hundred_orders: None
) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    report_reads = TopCustomers(engine, make_redis(nowhere, 0.5), Cache(nowhere, 0.5))
    assert len(report_reads.read(Window.ALL, 5).rows) == 5


def test_reads_beyond_the_published_depth_are_computed_from_orders(
    engine: sa.Engine, cache: Redis, report_reads: TopCustomers, six_hundred_orders: None
) -> None:
    refresh(engine, cache, lambda _ids: None, depth=3)
    for limit, min_orders in ((2, 1), (10, 1), (2, 20)):
        found = report_reads.read(Window.ALL, limit, min_orders)
        assert found.rows == compute(engine, Window.ALL, limit, min_orders).rows


def test_a_fold_waits_for_the_cache_to_be_invalidated(
    engine: sa.Engine, cache: Redis, six_hundred_orders: None
) -> None:
    def unavailable(_ids: object) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        refresh(engine, cache, unavailable, DEPTH)
    with engine.connect() as connection:
        waiting = connection.scalar(sa.select(sa.func.count()).select_from(customer_changes))
    assert waiting, "the log is kept for the next fold"
    invalidated: set[int] = set()
    refresh(engine, cache, invalidated.update, DEPTH)
    assert invalidated == set(range(1, 31))


def test_folding_in_many_passes_gives_the_same_reports(
    engine: sa.Engine, refreshed: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks.reports.fold.MAX_FOLD_ENTRIES", 7)
    refreshed()
