"""The benchmark of reports: a refresh and other ways of computing the same, by the number of orders.

**The job.** All windows of the top-customers report, as deep as it is published, after the totals of
`changes` orders were changed. **The clock** of a refresh runs from its call until the lists are
published and the customers' cached reads are invalidated; that of a query until its rows are fetched.
**The check.** In each round the published lists are compared with those of the queries.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from bench.alternate import Result, Side, compare, stopwatch
from bench.figures import Figures
from bench.stack import BenchStack, open_stack
from orderworks import cache as cached
from orderworks.core.errors import InvalidInput, OrderworksError
from orderworks.core.redis import Redis, make_redis
from orderworks.reports.rebuild import Rebuild
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import TopCustomer, TopCustomers, compute, published_report
from orderworks.reports.windows import BOUNDED, Window

QUERIES = "GROUP BY, all windows"
REFRESH = "refresh"
VIEW = "materialized view, refreshed"
CONCURRENTLY = "materialized view, refreshed concurrently"
QUERY = "one report by its query"
READ = "one report as published"

SIZES = (1_000_000,)
"""Orders of the table, unless others are named."""

READS = 2000
"""Reads of the published report in a round, since one is too short to be measured."""

Lists = dict[Window, Sequence[TopCustomer]]


@dataclass
class ReportBench:
    """The objects that all sides share."""

    stack: BenchStack
    cache: Redis
    changes: int
    dice: random.Random = field(default_factory=partial(random.Random, 5))

    @property
    def depth(self) -> int:
        """Return the number of lines of a report."""
        return self.stack.settings.report_depth


def run(sizes: Sequence[int] | None, changes: int, rounds: int) -> Figures:
    """Measure all sides at every size of the table; note how the time of the refresh grows.

    Raises:
        InvalidInput: a table has fewer orders than are to be changed.
    """
    sizes = sizes or SIZES
    if changes > min(sizes):
        raise InvalidInput(f"--changes {changes}: there are {min(sizes):,} orders")
    results: list[Result] = []
    for rows in sizes:
        with open_stack(rows) as stack:
            results += _measured(stack, changes, rounds)
    return Figures("reports", results, _growth(results))


def run_on(stack: BenchStack, changes: int, rounds: int) -> Figures:
    """Do the same on a stack, at its size only."""
    results = _measured(stack, changes, rounds)
    return Figures("reports", results, _growth(results))


def _measured(stack: BenchStack, changes: int, rounds: int) -> list[Result]:
    rows = len(stack.sample.orders)
    with make_redis(stack.settings.cache, 30) as client:
        bench = ReportBench(stack, client, changes)
        # A refresh sets the first day that is kept; it has to run before orders are loaded.
        _refresh(bench)
        stack.with_orders()
        _settle(bench)
        _make_view(stack)
        return compare(rounds, *_sides(bench, f"{rows:,} orders: "))


def _sides(bench: ReportBench, prefix: str) -> list[Side]:
    """Return the sides: in a round the refresh comes first, then the queries of the same orders."""
    runs = {
        REFRESH: partial(_timed_refresh, bench),
        QUERIES: partial(_queries, bench),
        VIEW: partial(_refresh_view, bench, ""),
        CONCURRENTLY: partial(_refresh_view, bench, "CONCURRENTLY"),
        QUERY: partial(_query, bench),
        READ: partial(_read, bench),
    }
    counts = {READ: READS}
    return [Side(prefix + name, counts.get(name, 1), runs[name]) for name in runs]


def _timed_refresh(bench: ReportBench) -> float:
    _change(bench)
    with stopwatch() as elapsed:
        folded = _refresh(bench)
        seconds = elapsed()
    # A changed order has two entries: minus the old total, plus the new one.
    if folded != 2 * bench.changes:
        raise OrderworksError(f"expected {2 * bench.changes:,} folded entries, not {folded:,}")
    return seconds


def _change(bench: ReportBench) -> None:
    """Change the total of `changes` orders in one transaction."""
    chosen = bench.dice.sample(range(len(bench.stack.sample.orders)), bench.changes)
    ids = bench.stack.sample.orders["id"].gather(chosen).to_list()
    statement = sa.text(
        "UPDATE orders SET total = round(total * 0.5 + :more, 2) WHERE id = ANY(:ids)"
    )
    with bench.stack.engine.begin() as connection:
        connection.execute(statement, {"ids": ids, "more": bench.dice.randrange(300_000)})


def _refresh(bench: ReportBench) -> int:
    """Refresh until the lists are published; return the number of folded entries."""
    invalidate, folded = partial(cached.invalidate, bench.cache), 0
    while True:
        result = refresh(bench.stack.engine, bench.cache, invalidate, bench.depth)
        if result is None:
            raise OrderworksError("another process refreshes the reports")
        folded += result.folded
        if not result.more:
            return folded


def _queries(bench: ReportBench) -> float:
    with stopwatch() as elapsed:
        lists = {window: compute(bench.stack.engine, window, bench.depth).rows for window in Window}
        seconds = elapsed()
    for window, rows in lists.items():
        published = published_report(bench.cache, window)
        if published is None or published.rows != rows:
            raise OrderworksError(f"the report of window {window} differs from its query")
    return seconds


def _refresh_view(bench: ReportBench, option: str) -> float:
    statement = sa.text(f"REFRESH MATERIALIZED VIEW {option} bench_windows")
    with stopwatch() as elapsed, bench.stack.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(statement)
        connection.commit()
        return elapsed()


def _query(bench: ReportBench) -> float:
    with stopwatch() as elapsed:
        compute(bench.stack.engine, Window.ALL, 10)
        return elapsed()


def _read(bench: ReportBench) -> float:
    reads = TopCustomers.from_settings(bench.stack.settings)
    with stopwatch() as elapsed:
        for _ in range(READS):
            reads.read(Window.ALL, 10)
        return elapsed()


def _settle(bench: ReportBench) -> None:
    """Fold the entries of loading, and reconcile, as once a day."""
    _refresh(bench)
    rebuild = Rebuild(bench.stack.engine, partial(_refresh, bench), lambda _label, _counted: None)
    if rebuild.run(bench.stack.settings.uncounted_statuses).has_drifted:
        raise OrderworksError("the rollups differ from the orders")
    for table in ("change_log", "customer_daily", "customer_totals", "customer_windows"):
        bench.stack.vacuum_and_checkpoint(table)


def _make_view(stack: BenchStack) -> None:
    """Create the view with a row per customer for all windows, computed in one pass over the orders."""
    columns = ["count(*) AS orders_all", "sum(total) AS total_all"]
    for window in BOUNDED:
        recent = f"FILTER (WHERE created_at >= current_date - {window.days - 1})"
        columns += [
            f"count(*) {recent} AS orders_{window.days}",
            f"sum(total) {recent} AS total_{window.days}",
        ]
    view = (
        f"CREATE MATERIALIZED VIEW bench_windows AS SELECT customer_id, {', '.join(columns)} "  # noqa: S608
        "FROM orders WHERE status NOT IN (SELECT status FROM uncounted_statuses) "
        "GROUP BY customer_id"
    )
    with stack.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(view))
        connection.execute(sa.text("CREATE UNIQUE INDEX ON bench_windows (customer_id)"))


def _growth(results: Sequence[Result]) -> list[str]:
    """Return notes on the time of a refresh relative to that with the first size."""
    times = [
        (each.name.partition(" ")[0], each.seconds)
        for each in results
        if each.name.endswith(f" {REFRESH}")
    ]
    first, *others = times
    return [
        f"at {rows} orders a refresh takes {seconds / first[1]:.2f} times that at {first[0]}"
        for rows, seconds in others
    ]
