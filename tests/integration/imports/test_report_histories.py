"""Random histories of orders: after each refresh every report equals SQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from orderworks.core.locks import Lock, try_lock
from orderworks.core.redis import Redis, make_redis
from orderworks.core.schema import customers, orders
from orderworks.reports import ranking, rollups
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import published_report, top_customers_query
from orderworks.reports.windows import Window
from tests.support.types import LoadFile

pytestmark = pytest.mark.slow

DEPTH = 3

PEOPLE = range(1, 10)
ORDERS = range(1, 31)

TABLES = (
    "orders, customers, change_log, customer_daily, customer_totals, customer_windows, imports, "
    "import_chunks, import_rejects, import_writers"
)

RECOUNT = """
    SELECT customer_id, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS orders,
           sum(total) AS total
    FROM orders WHERE status NOT IN (SELECT status FROM uncounted_statuses) GROUP BY 1, 2
"""

KEPT_DAYS = (
    "SELECT 1 + (now() AT TIME ZONE 'UTC')::date - first_day FROM report_windows WHERE days = 0"
)
KEPT = "day >= (SELECT first_day FROM report_windows WHERE days = 0)"

# Each gives what one side has and the other has not.
DRIFTS = (
    f"""SELECT customer_id, day, orders, total FROM customer_daily
        WHERE {KEPT} AND (orders <> 0 OR total <> 0) EXCEPT SELECT * FROM ({RECOUNT})""",
    f"""SELECT * FROM ({RECOUNT}) WHERE {KEPT}
        EXCEPT SELECT customer_id, day, orders, total FROM customer_daily""",
    f"""SELECT customer_id, orders, total FROM customer_totals WHERE orders <> 0 OR total <> 0
        EXCEPT SELECT customer_id, sum(orders), sum(total) FROM ({RECOUNT}) GROUP BY 1""",
    """SELECT days, customer_id, orders, total FROM customer_windows WHERE orders <> 0 OR total <> 0
       EXCEPT SELECT days, customer_id, sum(orders), sum(total)
       FROM customer_daily JOIN report_windows ON day >= first_day WHERE days > 0 GROUP BY 1, 2""",
    """SELECT days, customer_id, sum(orders), sum(total)
       FROM customer_daily JOIN report_windows ON day >= first_day WHERE days > 0 GROUP BY 1, 2
       HAVING sum(orders) <> 0
       EXCEPT SELECT days, customer_id, orders, total FROM customer_windows""",
)

money = st.integers(0, 500).map(lambda cents: Decimal(cents) / 100)
people, ids = st.sampled_from(PEOPLE), st.sampled_from(ORDERS)
statuses = st.sampled_from(["new", "paid", "cancelled"])
# The first and the last days of the windows and of what is kept, and a day that is to come.
ages = st.sampled_from([-1, 0, 1, 6, 7, 29, 30, 89, 90, 364, 365, 400, 401, 440, 800])


class Killed(Exception):
    """The error of a refresh that fails."""


class Histories(RuleBasedStateMachine):
    """A shop of few customers, to which anything happens in any order."""

    def __init__(
        self, engine: sa.Engine, other_program: sa.Engine, cache: Redis, load: LoadFile
    ) -> None:
        super().__init__()
        self.engine, self.other_program, self.cache, self.load = engine, other_program, cache, load
        self.open: sa.Connection | None = None
        self.renumbered = 0
        self.next_id = 1001
        self.cache.flushdb()
        people = [{"id": each, "name": f"Customer {each}"} for each in PEOPLE]
        with self.engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {TABLES}"))
            connection.execute(sa.insert(customers), people)

    @rule(order_id=ids, who=people, total=money, status=statuses, age=ages)
    def insert(self, order_id: int, who: int, total: Decimal, status: str, age: int) -> None:
        """A new order, unless the id exists."""
        created_at = datetime.now(UTC) - timedelta(days=age)
        self.write(
            "INSERT INTO orders (id, customer_id, total, status, created_at) "
            "VALUES (:id, :who, :total, :status, :at) ON CONFLICT DO NOTHING",
            {"id": order_id, "who": who, "total": total, "status": status, "at": created_at},
        )

    @rule(order_id=ids, total=money)
    def reprice(self, order_id: int, total: Decimal) -> None:
        """Another total."""
        self.write(
            "UPDATE orders SET total = :total WHERE id = :id", {"id": order_id, "total": total}
        )

    @rule(order_id=ids, who=people)
    def reassign(self, order_id: int, who: int) -> None:
        """The order moves to another customer."""
        self.write(
            "UPDATE orders SET customer_id = :who WHERE id = :id", {"id": order_id, "who": who}
        )

    @rule(order_id=ids, status=statuses)
    def proceed(self, order_id: int, status: str) -> None:
        """Another status; one of them does not count."""
        self.write("UPDATE orders SET status = :s WHERE id = :id", {"id": order_id, "s": status})

    @rule(order_id=ids, days=st.integers(-40, 40) | st.sampled_from([-430, 430]))
    def redate(self, order_id: int, days: int) -> None:
        """The order turns out to be of another day."""
        self.write(
            "UPDATE orders SET created_at = created_at + :days * interval '1 day' WHERE id = :id",
            {"id": order_id, "days": days},
        )

    @rule(order_id=ids)
    def delete(self, order_id: int) -> None:
        """The order goes."""
        self.write("DELETE FROM orders WHERE id = :id", {"id": order_id})

    @rule(who=people)
    def rename(self, who: int) -> None:
        """A customer on the lists may be called otherwise."""
        self.write("UPDATE customers SET name = name || '!' WHERE id = :who", {"who": who})

    @rule(
        statement=st.sampled_from(
            [
                "UPDATE orders SET total = total * 2",
                "UPDATE orders SET created_at = created_at - interval '1 day'",
                "UPDATE orders SET status = 'paid'",
                "DELETE FROM orders WHERE customer_id < 5",
                "TRUNCATE orders",
            ]
        )
    )
    def by_another_program(self, statement: str) -> None:
        """Plain SQL by an application that knows nothing of us."""
        self.write_by_another_program(statement, {})

    @rule()
    def renumber_by_another_program(self) -> None:
        """Orders get other customers and other keys, each time keys that no order has had."""
        self.renumbered += len(ORDERS)
        self.write_by_another_program(
            "UPDATE orders SET customer_id = customer_id % 9 + 1, id = id + :shift "
            "WHERE id < :limit",
            {"shift": self.renumbered, "limit": ORDERS[-1]},
        )

    def write_by_another_program(self, statement: str, values: dict[str, Any]) -> None:
        """One transaction of an application that knows nothing of us."""
        self.settle()
        with self.other_program.begin() as connection:
            connection.execute(sa.text(statement), values)

    @rule(rows=st.lists(st.tuples(ids, people, money, statuses), min_size=1, max_size=8))
    def bring(self, rows: list[tuple[int, int, Decimal, str]]) -> None:
        """An import of some orders, some of them twice."""
        self.settle()
        lines = "".join(f"{row[0]},{row[1]},{row[2]},{row[3]}\n" for row in rows)
        self.load(f"id,customer_id,total,status\n{lines}".encode())

    @precondition(lambda self: self.open is None)
    @rule(total=money)
    def begin(self, total: Decimal) -> None:
        """A transaction that stays open during others, and during folds."""
        self.open = self.engine.connect()
        self.open.execute(
            sa.insert(orders).values(id=self.next_id, customer_id=1, total=total, status="new")
        )
        self.next_id += 1

    @precondition(lambda self: self.open is not None)
    @rule(order_id=ids, total=money)
    def end(self, order_id: int, total: Decimal) -> None:
        """It changes an order that may be younger than itself, and is committed."""
        assert self.open is not None
        self.open.execute(sa.update(orders).where(orders.c.id == order_id).values(total=total))
        self.settle()

    def settle(self) -> None:
        """Commit the open transaction."""
        if self.open is not None:
            self.open.commit()
            self.open.close()
            self.open = None

    @rule()
    def refresh_fails_before_its_commit(self) -> None:
        """The cache is unavailable, or the worker is killed."""

        def die(_ids: object) -> None:
            raise Killed

        with pytest.raises(Killed):
            refresh(self.engine, self.cache, die, DEPTH)

    @rule()
    def refresh_fails_before_it_publishes(self) -> None:
        """This refresh does not publish what it folded."""
        nowhere = make_redis("redis://127.0.0.1:1/0", timeout=0.5)
        with pytest.raises(redis.RedisError):
            refresh(self.engine, nowhere, lambda _ids: None, DEPTH)

    @rule(days=st.integers(-400, 400))
    def windows_are_of_another_day(self, days: int) -> None:
        """As after an outage of that many days, or with a clock that was set back."""
        with self.folding() as connection:
            rollups.move_windows(connection, datetime.now(UTC) + timedelta(days=days), DEPTH)

    @rule()
    def night(self) -> None:
        """All customers are ranked again."""
        with self.folding() as connection:
            ranking.rerank_all(connection, DEPTH)

    @rule()
    def cache_is_flushed(self) -> None:
        """Nothing is published any more."""
        self.cache.flushdb()

    @rule()
    def refresh(self) -> None:
        """A refresh that succeeds: all of its results must equal SQL's."""
        self.settle()
        done = refresh(self.engine, self.cache, lambda _ids: None, DEPTH)
        assert done is not None
        with self.engine.connect() as connection:
            for window in Window:
                published = published_report(self.cache, window)
                assert published is not None
                query = top_customers_query(window, published.as_of, DEPTH)
                expected = [tuple(row) for row in connection.execute(query)]
                assert [
                    (r.customer_id, r.name, r.orders, r.total) for r in published.rows
                ] == expected
            for drift in DRIFTS:
                assert connection.execute(sa.text(drift)).all() == []
            kept = connection.scalar(sa.text(KEPT_DAYS))
            assert kept is not None
            assert Window.YEAR.days <= kept <= rollups.KEPT_DAYS + 1

    def teardown(self) -> None:
        """After any history, one more refresh gives the right reports."""
        self.refresh()

    def write(self, statement: str, values: dict[str, Any]) -> None:
        """One transaction of a worker or of another program."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    @contextmanager
    def folding(self) -> Iterator[sa.Connection]:
        """A transaction that may write rollups."""
        with self.engine.begin() as connection:
            assert try_lock(connection, Lock.FOLD)
            yield connection


@pytest.fixture
def other_program(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Another application, with sessions of its own."""
    made = sa.create_engine(engine.url)
    yield made
    made.dispose()


def test_after_each_refresh_every_report_and_rollup_equals_sql(
    engine: sa.Engine,
    other_program: sa.Engine,
    cache: Redis,
    load: LoadFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small enough for a handful of orders to need several passes, and more contenders than there are.
    monkeypatch.setattr("orderworks.reports.fold.MAX_FOLD_ENTRIES", 5)
    monkeypatch.setattr("orderworks.reports.rollups.MAX_MOVED_ROWS", 2)
    monkeypatch.setattr("orderworks.reports.ranking.RANKED_FACTOR", 1)

    class Here(Histories):
        """On the servers of this test."""

        def __init__(self) -> None:
            super().__init__(engine, other_program, cache, load)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            suppress_health_check=[*HealthCheck],
        ),
    )
