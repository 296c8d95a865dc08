"""Reconciliation: any drift of the rollups is found, counted and corrected during writes and folds."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import pytest
import sqlalchemy as sa

from orderworks import cache as cached
from orderworks.cache import Cache
from orderworks.core.database import make_engine
from orderworks.core.errors import RebuildStopped
from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis
from orderworks.core.schema import customers, orders
from orderworks.core.settings import Settings
from orderworks.reads import CustomerReads
from orderworks.reports import excluded_statuses, reconcile_runs
from orderworks.reports.rebuild import OnStep, Rebuild, RebuildResult
from orderworks.reports.reconcile import ReconcileCounts, lock_out_folds
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import compute, published_report
from orderworks.reports.windows import Window
from tests.support.celery_inspection import contents, run
from tests.support.processes import eventually

CUSTOMERS = 30
DEPTH = 50

COUNTED = "status NOT IN (SELECT status FROM uncounted_statuses)"
DAY = "(created_at AT TIME ZONE 'UTC')::date"

FIRST_KEPT = "(SELECT first_day FROM report_windows WHERE days = 0)"

RIGHT_DAYS = f"""
    SELECT customer_id, {DAY}, count(*), sum(total) FROM orders
    WHERE {COUNTED} AND {DAY} >= {FIRST_KEPT} GROUP BY 1, 2
"""
RIGHT_TOTALS = f"SELECT customer_id, count(*), sum(total) FROM orders WHERE {COUNTED} GROUP BY 1"
RIGHT_WINDOWS = f"""
    SELECT days, customer_id, count(*), sum(total) FROM orders JOIN report_windows
    ON days > 0 AND ({DAY}, customer_id) >= (first_day, first_customer)
    WHERE {COUNTED} GROUP BY 1, 2
"""
FOUND_DAYS = f"""
    SELECT customer_id, day, sum(orders), sum(total)
    FROM (TABLE customer_daily UNION ALL
          SELECT customer_id, day, orders, total FROM customer_changes WHERE day IS NOT NULL) AS rows
    WHERE day >= {FIRST_KEPT} GROUP BY 1, 2 HAVING sum(orders) <> 0 OR sum(total) <> 0
"""
FOUND_TOTALS = "SELECT customer_id, orders, total FROM customer_totals"
FOUND_WINDOWS = "SELECT days, customer_id, orders, total FROM customer_windows"
WRONGLY_RANKED = """
    SELECT * FROM (SELECT 0 AS days, * FROM customer_totals UNION ALL TABLE customer_windows) AS rows
    LEFT JOIN report_windows USING (days)
    WHERE (ranked IS NULL AND orders > 0 AND (floor IS NULL OR total >= floor))
       OR (ranked IS NOT NULL AND (orders <= 0 OR ranked <> total))
"""

DoRebuild = Callable[..., RebuildResult]


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderworks.reports.reconcile.RANGE_ROWS", 100)


@pytest.fixture
def other_engine(settings: Settings) -> Iterator[sa.Engine]:
    """Connections of concurrent writers."""
    roomy = settings.model_copy(update={"db_pool_size": 8})
    made = make_engine(roomy, "orderworks-test-others")
    yield made
    made.dispose()


@pytest.fixture
def rebuild(engine: sa.Engine, cache: Redis) -> DoRebuild:
    """Rebuild as the command does."""

    def do(*excluded: str, on_step: OnStep = lambda _label, _counted: None) -> RebuildResult:
        return Rebuild(engine, lambda: fold_log(engine, cache), on_step).run(
            excluded or ("cancelled",)
        )

    return do


@pytest.fixture
def rollups_of_orders(engine: sa.Engine, cache: Redis, rebuild: DoRebuild) -> None:
    """Create customers with orders of the last eight hundred days, in right rollups.

    Windows start at various days; in some of them not all customers are ranked.
    """
    with engine.begin() as connection:
        people = [{"id": key, "name": f"Customer {key}"} for key in range(1, CUSTOMERS + 1)]
        connection.execute(sa.insert(customers), people)
        connection.execute(sa.insert(orders), some_orders())
    fold_log(engine, cache)
    run(
        engine,
        "UPDATE report_windows SET first_day = current_date - days, first_customer = days "
        "WHERE days > 0",
        "UPDATE report_windows SET floor = 20000 WHERE days IN (365, 90)",
    )
    rebuild()
    assert is_right(engine)


KEYS = range(1, 601)


def some_orders() -> list[dict[str, object]]:
    """Return random orders, the same in every run."""
    dice = random.Random(7)
    return [new_order(dice, key) for key in KEYS]


def new_order(dice: random.Random, key: int) -> dict[str, object]:
    """Return a random order of the last 800 days, half of which are too old to be kept."""
    return {
        "id": key,
        "customer_id": dice.randint(1, CUSTOMERS),
        "total": Decimal(dice.randint(0, 10**6)) / 100,
        "status": dice.choice(["new", "paid", "refunded", "cancelled"]),
        "created_at": datetime.now(UTC) - timedelta(days=dice.randint(0, 800)),
    }


def fold_log(engine: sa.Engine, cache: Redis) -> None:
    """Fold the log."""
    assert refresh(engine, cache, lambda ids: cached.invalidate(cache, ids), DEPTH)


def rows(engine: sa.Engine, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query, sorted."""
    with engine.connect() as connection:
        return sorted(map(tuple, connection.execute(sa.text(query))), key=str)


def is_right(engine: sa.Engine) -> bool:
    """Return whether the rollups equal the sums of the orders; the log is empty or without effect."""
    pairs = (
        (FOUND_DAYS, RIGHT_DAYS),
        (FOUND_TOTALS + " WHERE orders <> 0 OR total <> 0", RIGHT_TOTALS),
        (FOUND_WINDOWS + " WHERE orders <> 0 OR total <> 0", RIGHT_WINDOWS),
    )
    for found, right in pairs:
        assert rows(engine, found) == rows(engine, right)
    assert rows(engine, WRONGLY_RANKED) == []
    return True


def drift(rebuilt: RebuildResult) -> dict[str, int]:
    """Return the number of drifted rows by rollup, without zeros."""
    assert rebuilt.drift is not None
    return {name: number for name, number in rebuilt.drift.by_table.items() if number}


DRIFTS = [
    ("customer_daily", "UPDATE customer_daily SET total = total + 1 WHERE customer_id % 7 = 0"),
    ("customer_daily", "UPDATE customer_daily SET orders = orders - 1 WHERE customer_id = 3"),
    ("customer_daily", "UPDATE customer_daily SET orders = 0, total = 0 WHERE customer_id = 3"),
    ("customer_daily", "DELETE FROM customer_daily WHERE customer_id % 2 = 0"),
    ("customer_daily", "INSERT INTO customer_daily VALUES (999, current_date, 2, 10)"),
    ("customer_daily", "INSERT INTO customer_daily VALUES (-5, 'infinity', 2, 10)"),
    ("customer_totals", "UPDATE customer_totals SET total = total + 1 WHERE customer_id % 7 = 0"),
    ("customer_totals", "UPDATE customer_totals SET orders = 0, total = 0, ranked = NULL"),
    ("customer_totals", "DELETE FROM customer_totals WHERE customer_id % 2 = 0"),
    ("customer_totals", "INSERT INTO customer_totals VALUES (999, 2, 10, 10)"),
    ("customer_totals", f"INSERT INTO customer_totals VALUES ({2**63 - 1}, 0, 0, 5)"),
    ("customer_totals", "UPDATE customer_totals SET ranked = NULL WHERE customer_id % 2 = 0"),
    ("customer_totals", "UPDATE customer_totals SET ranked = total - 1 WHERE customer_id = 4"),
    ("customer_windows", "UPDATE customer_windows SET total = total + 1 WHERE days = 365"),
    ("customer_windows", "UPDATE customer_windows SET orders = 1 + orders WHERE customer_id = 4"),
    ("customer_windows", "DELETE FROM customer_windows WHERE customer_id % 2 = 0"),
    ("customer_windows", "INSERT INTO customer_windows VALUES (30, 999, 2, 10)"),
    ("customer_windows", "INSERT INTO customer_windows VALUES (45, 3, 2, 10, 10)"),
    ("customer_windows", "UPDATE customer_windows SET ranked = NULL WHERE total >= 20000"),
    ("customer_windows", "UPDATE customer_windows SET ranked = total + 1 WHERE days = 90"),
]


@pytest.mark.parametrize(("table", "change"), DRIFTS)
def test_any_drift_is_counted_by_table_and_corrected(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild, table: str, change: str
) -> None:
    with engine.begin() as connection:
        changed = connection.execute(sa.text(change)).rowcount
    assert changed
    assert drift(rebuild()) == {table: changed}
    assert is_right(engine)
    assert drift(rebuild()) == {}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET total = total + 1 WHERE customer_id < 4",
        "UPDATE orders SET status = 'cancelled' WHERE customer_id < 4",
        "UPDATE orders SET customer_id = customer_id % 30 + 1",
        "UPDATE orders SET created_at = created_at - interval '3 days'",
        "DELETE FROM orders WHERE customer_id < 4",
        "INSERT INTO orders (id, customer_id, total) SELECT 5000 + g, 3, g FROM generate_series(1, 9) g",
    ],
)
def test_writes_bypassing_the_triggers_are_counted(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild, change: str
) -> None:
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER USER",
        change,
        "ALTER TABLE orders ENABLE TRIGGER USER",
    )
    assert {"customer_daily", "customer_windows"} <= set(drift(rebuild()))
    assert is_right(engine)


def test_optional_ranking_is_not_drift(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    below = "UPDATE customer_windows SET ranked = {} WHERE days = 365 AND total < 20000"
    for ranked in ("total", "NULL"):
        run(engine, below.format(ranked))
        assert drift(rebuild()) == {}


def test_rows_without_orders_are_deleted_and_not_counted_as_drift(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(
        engine,
        "INSERT INTO customer_daily VALUES (999, current_date, 0, 0)",
        "INSERT INTO customer_totals VALUES (999, 0, 0)",
        "INSERT INTO customer_windows VALUES (30, 999, 0, 0)",
    )
    assert drift(rebuild()) == {}
    assert rows(engine, FOUND_TOTALS + " WHERE customer_id = 999") == []
    assert rows(engine, FOUND_WINDOWS + " WHERE customer_id = 999") == []


def test_leftover_rows_of_deleted_days_are_not_drift(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(engine, "INSERT INTO customer_daily VALUES (3, '0044-03-15 BC', 2, 10)")
    assert drift(rebuild()) == {}
    assert is_right(engine)


def test_old_order_bypassing_the_triggers_is_drift_in_totals_only(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(
        engine,
        "ALTER TABLE orders DISABLE TRIGGER USER",
        "INSERT INTO orders (id, customer_id, total, created_at) VALUES (7000, 3, 5, '2001-01-01')",
        "ALTER TABLE orders ENABLE TRIGGER USER",
    )
    assert drift(rebuild()) == {"customer_totals": 1}
    assert is_right(engine)


def test_pending_log_entries_are_not_drift(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(engine, "UPDATE orders SET total = total + 1, customer_id = customer_id % 30 + 1")
    found = rebuild()
    assert drift(found) == {}
    assert found.drift is not None
    assert [(found.drift.orders,)] == rows(engine, f"SELECT count(*) FROM orders WHERE {COUNTED}")
    assert found.drift.customers == CUSTOMERS
    fold_log(engine, cache)
    assert rows(engine, FOUND_DAYS) == rows(engine, RIGHT_DAYS)


def test_corrected_rollups_are_published_by_the_next_refresh(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(engine, "DELETE FROM customer_daily", "DELETE FROM customer_totals")
    refresh(engine, cache, lambda _ids: None, DEPTH)
    rebuild()
    equals_the_oracle(engine, cache)


def equals_the_oracle(engine: sa.Engine, cache: Redis) -> None:
    """Refresh, and compare every report with SQL over the orders."""
    assert refresh(engine, cache, lambda ids: cached.invalidate(cache, ids), DEPTH)
    for window in Window:
        published = published_report(cache, window)
        assert published is not None
        assert published.rows == compute(engine, window, 50).rows


def test_check_reports_what_rebuild_would_and_changes_nothing(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(
        engine,
        "UPDATE customer_daily SET total = total + 1 WHERE customer_id = 3",
        "DELETE FROM customer_windows WHERE customer_id = 4",
        "INSERT INTO customer_totals VALUES (999, 0, 0)",
    )
    before = contents(engine)
    checked = Rebuild(engine, lambda: None, lambda _label, _counted: None).check(("cancelled",))
    assert contents(engine) == before
    assert drift(checked)
    rebuilt = rebuild()
    assert rebuilt.drift == checked.drift


def test_customer_with_more_orders_than_a_range_is_compared(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks.reports.reconcile.RANGE_ROWS", 3)
    run(engine, "UPDATE customer_daily SET orders = orders + 1 WHERE customer_id = 30")
    run(engine, "INSERT INTO customer_totals VALUES (-3, 1, 1)")
    found = drift(rebuild())
    assert found == {
        "customer_daily": len(rows(engine, f"{RIGHT_DAYS} HAVING customer_id = 30")),
        "customer_totals": 1,
    }
    assert is_right(engine)


def test_a_long_log_is_folded_first(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderworks.reports.reconcile_runs.MAX_LOG_ENTRIES", 20)
    run(engine, "UPDATE orders SET customer_id = 1 WHERE customer_id = 2")
    assert len(rows(engine, "SELECT * FROM customer_changes")) > 20
    rebuild()
    assert rows(engine, "SELECT * FROM customer_changes WHERE orders <> 0") == []


def test_range_waits_for_a_running_fold(
    engine: sa.Engine, other_engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with other_engine.begin() as other:
            assert try_lock(other, Lock.FOLD)
            rebuilt = pool.submit(rebuild)
            eventually(lambda: waiters(engine), 10, "the range waits")
            assert not rebuilt.done()
        assert drift(rebuilt.result(20)) == {}


def test_fold_waits_for_a_running_range(
    engine: sa.Engine, other_engine: sa.Engine, cache: Redis, rollups_of_orders: None
) -> None:
    run(engine, "UPDATE orders SET total = total + 1 WHERE customer_id = 1")
    with ThreadPoolExecutor(1) as pool:
        with other_engine.begin() as other:
            assert lock_out_folds(other)
            folded = pool.submit(fold_log, engine, cache)
            eventually(lambda: waiters(engine), 10, "the fold waits")
        folded.result(20)
    assert rows(engine, "TABLE customer_changes") == []


def test_fold_that_never_ends_stops_the_rebuild_with_an_error(
    engine: sa.Engine,
    other_engine: sa.Engine,
    rollups_of_orders: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orderworks.reports.reconcile.FOLD_LOCK_WAIT", 0.1)
    with other_engine.begin() as other:
        assert try_lock(other, Lock.FOLD)
        with engine.begin() as connection:
            place = reconcile_runs.start_run(connection)
        with pytest.raises(RebuildStopped, match="running all the time"):
            reconcile_runs.reconcile_next_range(engine, lambda: None, place)


def waiters(engine: sa.Engine) -> list[tuple[object, ...]]:
    """Return the sessions that wait for an advisory lock."""
    return rows(engine, "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


@contextmanager
def writing_and_folding(
    engine: sa.Engine, cache: Redis, writers: int = 2
) -> Iterator[Callable[[], bool]]:
    """Run writers and folds; yield a function: whether all progressed since its last call."""
    ended, done = threading.Event(), [0] * (writers + 1)
    asked = list(done)

    def write(number: int) -> None:
        dice, key = random.Random(number), count(10_000 * (number + 1))
        while not ended.is_set():
            with engine.begin() as connection:
                for _statement in range(dice.randint(1, 3)):
                    connection.execute(random_write(dice, next(key)))
            done[number] += 1

    def fold_repeatedly() -> None:
        while not ended.is_set():
            folded = refresh(engine, cache, lambda ids: cached.invalidate(cache, ids), DEPTH)
            done[-1] += bool(folded and folded.folded)

    def all_progressed() -> bool:
        if any(now == before for now, before in zip(done, asked, strict=True)):
            return False
        asked[:] = done
        return True

    with ThreadPoolExecutor(writers + 1) as pool:
        futures = [pool.submit(write, number) for number in range(writers)]
        futures.append(pool.submit(fold_repeatedly))
        try:
            yield all_progressed
        finally:
            ended.set()
    for each in futures:
        each.result()


def random_write(dice: random.Random, key: int) -> sa.Executable:
    """Return an insert, update, move or delete of a few orders. Rows are locked one at a time."""
    one = (
        orders.c.id
        == sa.select(orders.c.id)
        .where(orders.c.id >= dice.choice(KEYS))
        .order_by(orders.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    new = new_order(dice, key)
    changes = dice.sample(["customer_id", "total", "status", "created_at"], dice.randint(1, 4))
    return dice.choice(
        [
            sa.insert(orders).values(new),
            sa.update(orders).where(one).values({name: new[name] for name in changes}),
            sa.update(orders).where(one).values(status=new["status"]),
            sa.delete(orders).where(one),
        ]
    )


@pytest.fixture
def stocked(engine: sa.Engine, cache: Redis, rebuild: DoRebuild) -> None:
    """Create customers and orders, in right rollups."""
    with engine.begin() as connection:
        people = [{"id": key, "name": f"Customer {key}"} for key in range(1, CUSTOMERS + 1)]
        connection.execute(sa.insert(customers), people)
        connection.execute(sa.insert(orders), some_orders())
    fold_log(engine, cache)
    assert drift(rebuild()) == {}


@pytest.mark.slow
def test_concurrent_writers_and_folds_cause_no_drift(
    engine: sa.Engine,
    other_engine: sa.Engine,
    cache: Redis,
    stocked: None,
    rebuild: DoRebuild,
) -> None:
    ranges: list[ReconcileCounts] = []
    with writing_and_folding(other_engine, cache) as all_progressed:

        def on_step(_label: str, counted: ReconcileCounts) -> None:
            ranges.append(counted)
            eventually(all_progressed, 20, "writers and folds continue between two ranges")

        rebuilds = [rebuild(on_step=on_step) for _time in range(3)]
    assert len(ranges) > 3 * 3
    assert [drift(each) for each in rebuilds] == [{}, {}, {}]
    fold_log(engine, cache)
    assert rows(engine, FOUND_DAYS) == rows(engine, RIGHT_DAYS)
    assert drift(rebuild()) == {}


@pytest.mark.slow
def test_excluded_statuses_are_changed_under_concurrent_writes(
    engine: sa.Engine,
    other_engine: sa.Engine,
    cache: Redis,
    stocked: None,
    rebuild: DoRebuild,
) -> None:
    with writing_and_folding(other_engine, cache) as all_progressed:

        def on_step(_label: str, _counted: ReconcileCounts) -> None:
            eventually(all_progressed, 20, "writers and folds continue between two ranges")

        rebuilds = [
            rebuild(*excluded, on_step=on_step)
            for excluded in (("cancelled", "refunded"), ("paid",), ("cancelled", "new"))
        ]
    assert [drift(each) for each in rebuilds] == [{}, {}, {}]
    assert [each.recounted_for for each in rebuilds] == [
        ("refunded",),
        ("cancelled", "paid", "refunded"),
        ("cancelled", "new", "paid"),
    ]
    assert all(each.recounted and each.recounted.customer_daily for each in rebuilds)
    equals_the_oracle(engine, cache)
    assert drift(rebuild("cancelled", "new")) == {}


def test_pending_log_entries_are_counted_by_the_new_statuses(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(engine, "UPDATE orders SET status = 'refunded' WHERE status = 'paid'")
    rebuild("paid", "refunded")
    run(engine, "UPDATE orders SET status = 'paid' WHERE id % 2 = 0")
    run(engine, "UPDATE orders SET status = 'new' WHERE id % 3 = 0")
    fold_log(engine, cache)
    assert rows(engine, FOUND_DAYS) == rows(engine, RIGHT_DAYS)


def test_drift_is_distinguished_from_changes_of_excluded_statuses(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    run(engine, "UPDATE customer_daily SET total = total + 1 WHERE customer_id = 3")
    days = rows(engine, "SELECT count(*) FROM customer_daily WHERE customer_id = 3")[0][0]
    found = rebuild("cancelled", "refunded")
    assert drift(found) == {"customer_daily": days}
    assert (found.in_force, found.recounted_for) == (("cancelled", "refunded"), ("refunded",))
    assert found.recounted is not None
    assert [(found.recounted.customer_daily,)] == rows(
        engine,
        f"SELECT count(DISTINCT (customer_id, {DAY})) FROM orders "
        f"WHERE status = 'refunded' AND {DAY} >= {FIRST_KEPT}",
    )
    assert is_right(engine)


def test_changing_excluded_statuses_invalidates_cached_reads(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    everybody = [*range(1, CUSTOMERS + 1), 99]
    # The orders that cease to count equal, to the cent, those that begin to: the rollups stay equal.
    run(
        engine,
        "INSERT INTO customers (id, name) VALUES (99, 'Customer 99')",
        "INSERT INTO orders (id, customer_id, total, status, created_at) VALUES "
        "(7001, 99, 5, 'cancelled', current_date + time '12:00'), "
        "(7002, 99, 5, 'refunded', current_date + time '11:00')",
    )
    fold_log(engine, cache)
    rebuild()
    fold_log(engine, cache)
    reads = CustomerReads(engine, Cache.from_settings(), 300)
    before = [reads.customer_summary(key) for key in everybody]
    rebuild("refunded")
    fold_log(engine, cache)
    after = [reads.customer_summary(key) for key in everybody]
    cache.flushdb()
    assert after == [reads.customer_summary(key) for key in everybody]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_long_running_writer_prevents_a_change_of_statuses(
    engine: sa.Engine,
    other_engine: sa.Engine,
    rollups_of_orders: None,
    rebuild: DoRebuild,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orderworks.reports.excluded_statuses.LOCK_WAIT", 0.05)
    monkeypatch.setattr(
        "orderworks.reports.excluded_statuses.retry_block",
        excluded_statuses.retry_block.copy(
            stop=lambda state: state.attempt_number >= 3, wait=no_wait
        ),
    )
    with other_engine.begin() as writer:
        writer.execute(sa.text("UPDATE orders SET total = 5 WHERE id = 1"))
        with pytest.raises(RebuildStopped, match="Nothing was changed.*Pause imports"):
            rebuild("cancelled", "refunded")
        with other_engine.begin() as another:
            another.execute(sa.text("UPDATE orders SET total = 5 WHERE id = 2"))
    assert rows(engine, "TABLE uncounted_statuses") == [("cancelled",)]
    assert rebuild("cancelled", "refunded").recounted_for == ("refunded",)
    assert is_right_when_folded(engine)


def no_wait(_state: object) -> float:
    return 0


def is_right_when_folded(engine: sa.Engine) -> bool:
    """Return whether the sums of days and log are right."""
    return rows(engine, FOUND_DAYS) == rows(engine, RIGHT_DAYS)


def test_killed_recount_is_completed_by_the_next_rebuild(
    engine: sa.Engine, cache: Redis, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    class Killed(Exception):
        pass

    def kill(label: str, _counted: ReconcileCounts) -> None:
        if label == "recounted":
            raise Killed

    with pytest.raises(Killed):
        rebuild("cancelled", "refunded", on_step=kill)
    with engine.begin() as connection:
        assert reconcile_runs.unfinished_change(connection) == {"refunded"}
        assert reconcile_runs.start_run_if_due(connection, timedelta()) is None, (
            "no check counts it as drift"
        )
    found = rebuild("cancelled")
    assert (found.drift, found.recounted_for) == (None, ("refunded",))
    assert is_right(engine)
    assert drift(rebuild("cancelled")) == {}


def test_running_check_ends_when_statuses_change(
    engine: sa.Engine, rollups_of_orders: None, rebuild: DoRebuild
) -> None:
    with engine.begin() as connection:
        place = reconcile_runs.start_run(connection)
    stepped = reconcile_runs.reconcile_next_range(engine, lambda: None, place)
    assert stepped is not None
    with engine.begin() as connection:
        recount = reconcile_runs.start_status_change(connection, ("cancelled", "refunded"))
    assert recount is not None
    assert reconcile_runs.reconcile_next_range(engine, lambda: None, stepped[0]) is None
    assert reconcile_runs.reconcile_next_range(engine, lambda: None, recount) is not None


def test_repeated_step_is_done_once(engine: sa.Engine, rollups_of_orders: None) -> None:
    run(engine, "UPDATE customer_daily SET total = total + 1 WHERE customer_id = 1")
    with engine.begin() as connection:
        place = reconcile_runs.start_run(connection)
    with ThreadPoolExecutor(2) as pool:
        twice = list(
            pool.map(
                lambda each: reconcile_runs.reconcile_next_range(engine, lambda: None, each),
                [place] * 2,
            )
        )
    done = [each for each in twice if each]
    assert len(done) == 1
    with engine.begin() as connection:
        assert reconcile_runs.counts_of_run(connection, place.run) == done[0][1]
