"""Orders changed by plain SQL: cached reads and reports follow at once, without beat."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from orderworks.cache import invalidation
from orderworks.core import keys
from orderworks.core.redis import Redis
from orderworks.core.settings import Settings
from orderworks.reads import CustomerReads
from orderworks.reports.top_customers import published_report
from orderworks.reports.windows import Window
from tests.support.celery_inspection import run
from tests.support.oracle import make_rows, write_orders
from tests.support.processes import BEAT_NEVER, eventually, running_worker

ORDER, CUSTOMER = 1, 2
"""The only order of a customer, as `make_rows` assigns them."""

LISTENING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'orderworks-listener:%' AND wait_event = 'ClientRead'"
)


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Settings by which beat starts no sweep and no refresh."""
    return BEAT_NEVER


def test_plain_sql_change_reaches_cache_and_reports_without_beat(
    engine: sa.Engine, settings: Settings, cache: Redis, folder: Path
) -> None:
    write_orders(engine, make_rows(10))
    reads = CustomerReads.from_settings(settings)

    def listed() -> Decimal | None:
        report = published_report(cache, Window.ALL)
        rows = report.rows if report else []
        return next((row.total for row in rows if row.customer_id == CUSTOMER), None)

    def name() -> str | None:
        customer = reads.customer(CUSTOMER)
        return customer.name if customer else None

    with running_worker(folder, "--concurrency=2"):
        eventually(
            lambda: listed() == reads.customer_summary(CUSTOMER).total, 20, "no refresh at start"
        )
        eventually(lambda: is_listening(engine), 20, "no worker listens")
        cache.delete(*(keys.invalidation_delays(path) for path in invalidation.Path))
        for total in range(1000, 1005):
            run(engine, f"UPDATE orders SET total = {total} WHERE id = {ORDER}")
        eventually(lambda: reads.customer_summary(CUSTOMER).total == 1004, 5, "the old sum is read")
        eventually(lambda: listed() == 1004, 5, "the old report is read")
        assert name() != "Renamed"
        run(engine, f"UPDATE customers SET name = 'Renamed' WHERE id = {CUSTOMER}")
        eventually(lambda: name() == "Renamed", 5, "the old name is read")
        eventually(lambda: len(invalidation.read_delays(cache)), 5, "no delay is recorded")
    recorded = invalidation.read_delays(cache)
    assert list(recorded) == [invalidation.Path.LOG], "no worker wrote"
    assert 0 < recorded[invalidation.Path.LOG].p50 <= recorded[invalidation.Path.LOG].longest


def is_listening(engine: sa.Engine) -> bool:
    """Return whether a worker listens."""
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(LISTENING)))
