"""The steps of the demo: import, update during cached reads, report, check."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core.database import make_engine
from orderworks.core.errors import OrderworksError, WaitTimeout
from orderworks.core.redis import make_redis
from orderworks.core.schema import customers
from orderworks.core.settings import Settings
from orderworks.core.versions import version_at
from orderworks.reads import CustomerReads
from orderworks.reports.top_customers import Report, published_report
from orderworks.reports.windows import Window
from orderworks.updates.counters import read_totals
from orderworks.updates.stream import UpdateStream
from orderworks_app.demo import checks
from orderworks_app.demo.checks import Proof
from orderworks_app.demo.data import GeneratedFiles, generate
from orderworks_app.demo.oracle import ExpectedOrders, make_updates
from orderworks_app.demo.readers import Readers
from orderworks_app.terminal import console, print_sentence
from producer import Producer

UPDATES = 20_000
UNREAD_CUSTOMERS_CHECKED = 2_000
TIMEOUT = 300.0
"""Seconds that each step may take."""


class Demo:
    """One run against running servers and workers."""

    def __init__(
        self, settings: Settings, folder: Path, print_report: Callable[[Report], None]
    ) -> None:
        """`folder` is for the generated files; `print_report` shows the report at the end."""
        self._print_report = print_report
        self._settings = settings
        self._folder = folder
        self._engine = make_engine(settings, "orderworks-demo")
        self._cache = make_redis(settings.cache, settings.redis_timeout)
        self._redis = make_redis(settings.stream, settings.redis_timeout)
        self._stream = UpdateStream(self._redis, settings.update_shards, settings.stream_limit)
        self._reads = CustomerReads(self._engine, Cache.from_settings(settings), settings.cache_ttl)
        self._seen: set[int] = set()

    def run(self, order_count: int) -> list[Proof]:
        """Run all steps, print their results, and return the checks."""
        self._refuse_foreign_data()
        oracle = ExpectedOrders(checks.read_orders(self._engine))
        sample = generate(self._folder, order_count)
        _print_done(f"generated {sample.customers:,} customers and {order_count:,} orders (TPC-H)")
        with Producer.from_settings() as producer:
            of_customers = self._import(producer, sample.customers_file, "customers")
            of_orders = self._import(producer, sample.orders_file, "orders")
            oracle.add_file(sample.orders)
            verdicts = self._update(producer, sample, oracle)
        self._await_report()
        return [
            checks.table_equals_oracle(self._engine, oracle),
            checks.rows_add_up(of_customers, sample.customers),
            checks.rows_add_up(of_orders, order_count),
            checks.updates_add_up(UPDATES, verdicts),
            checks.cached_reads_equal_database(
                self._engine, self._reads, self._customers_to_check(sample)
            ),
            checks.reports_equal_sql(self._engine, self._cache, self._settings.report_depth),
        ]

    def _refuse_foreign_data(self) -> None:
        """Refuse a database with other data: the demo overwrites orders by id."""
        foreign = sa.select(customers.c.id).where(customers.c.name.not_like("Customer#%")).limit(1)
        with self._engine.connect() as connection:
            if connection.scalar(foreign) is not None:
                raise OrderworksError(
                    "this database contains customers that the demo did not create: run it with a "
                    "database of its own: ORDERWORKS_HOME=demo-home orderworks demo"
                )

    def _import(self, producer: Producer, file: Path, kind: str) -> dict[str, Any]:
        started = time.monotonic()
        summary = producer.import_file(file, kind=kind, again=True).wait(timeout=TIMEOUT)
        seconds = time.monotonic() - started
        rate = summary["rows"] / seconds
        _print_done(
            f"imported {summary['rows']:,} {kind} in {seconds:.1f} s, {rate:,.0f} "
            f"rows/s: {summary['applied']:,} applied, {summary['unchanged']:,} unchanged"
        )
        return summary

    def _update(
        self, producer: Producer, sample: GeneratedFiles, oracle: ExpectedOrders
    ) -> dict[str, int]:
        newest = version_at(datetime.now(UTC))
        updates = make_updates(sample.orders["id"].to_list(), UPDATES, newest)
        before = self._totals()
        readers = sample.orders["customer_id"].unique().to_list()
        with Readers(self._reads, readers) as reading:
            started = time.monotonic()
            producer.update_many(updates)
            accepted = time.monotonic()
            self._await_drained()
            applied = time.monotonic()
        for update in updates:
            oracle.apply_update(update)
        _print_done(
            f"{UPDATES:,} updates accepted in {accepted - started:.1f} s, all applied after "
            f"{applied - started:.1f} s, {UPDATES / (applied - started):,.0f}/s; "
            f"{reading.done:,} cached reads meanwhile"
        )
        self._seen = reading.seen
        after = self._totals()
        return {name: after[name] - before[name] for name in after}

    def _customers_to_check(self, sample: GeneratedFiles) -> list[int]:
        """The customers whose reads were cached while the updates ran, and some others."""
        others = sample.orders["customer_id"].unique().head(UNREAD_CUSTOMERS_CHECKED).to_list()
        return sorted(self._seen.union(others))

    def _totals(self) -> dict[str, int]:
        with self._engine.connect() as connection:
            return read_totals(connection)

    def _await_drained(self) -> None:
        _wait_until("the updates to be applied", lambda: self._stream.backlog().waiting == 0)

    def _await_report(self) -> None:
        """Wait until beat's next refresh published a report as of a later time than now."""
        settled_at = datetime.now(UTC)
        started = time.monotonic()

        def refreshed() -> bool:
            report = published_report(self._cache, Window.ALL)
            return report is not None and report.as_of > settled_at

        _wait_until("beat to refresh the report", refreshed)
        _print_done(
            f"beat refreshed the top-customers report after {time.monotonic() - started:.1f} s"
        )
        report = published_report(self._cache, Window.ALL)
        top = report and report.sliced(10, 1)
        if top:
            console.print()
            self._print_report(top)
            console.print()


def _wait_until(label: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise WaitTimeout(f"timed out after {TIMEOUT:.0f} s waiting for {label}: see the logs")
        time.sleep(0.02)


def _print_done(sentence: str) -> None:
    print_sentence(f"[green]✓[/] {sentence}")
