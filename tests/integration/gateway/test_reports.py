"""The report through the gateway: as published, and 304 for a known ETag."""

from collections.abc import Callable
from decimal import Decimal

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from orderworks.cache import invalidate
from orderworks.core.redis import Redis
from orderworks.core.schema import orders
from orderworks.core.settings import Settings
from orderworks.reports.refresh import refresh
from orderworks.reports.top_customers import TopCustomers
from orderworks.reports.windows import Window
from tests.support.types import WriteRows

PATH = "/v1/reports/top-customers"


@pytest.fixture
def publish(engine: sa.Engine, cache: Redis, seed: WriteRows) -> Callable[[], object]:
    """Publishes the report of orders of five customers again."""
    seed({each: (each, "paid", Decimal(each), 1) for each in range(1, 6)})
    return lambda: refresh(engine, cache, lambda ids: invalidate(cache, ids), 100)


def test_report_is_the_published_one_limited_as_requested(
    http: httpx.Client, settings: Settings, publish: Callable[[], object]
) -> None:
    publish()
    report = http.get(PATH, params={"window": "7d", "limit": 2})
    expected = TopCustomers.from_settings(settings).read(Window("7d"), 2).shown()
    assert report.json() == msgspec.to_builtins(expected, builtin_types=()) | {
        "rows": [
            {"customer_id": 5, "name": "Customer 5", "orders": 1, "total": "5.00"},
            {"customer_id": 4, "name": "Customer 4", "orders": 1, "total": "4.00"},
        ]
    }
    assert http.get(PATH, params={"min_orders": 2}).json()["rows"] == []


def test_known_etag_gives_304_until_the_next_refresh(
    http: httpx.Client, engine: sa.Engine, publish: Callable[[], object]
) -> None:
    publish()
    first = http.get(PATH)
    assert int(first.headers["Age"]) >= 0
    assert first.headers["Cache-Control"] == "private, no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = http.get(PATH, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    assert http.get(PATH, headers={"If-None-Match": '"other"'}).status_code == 200
    with engine.begin() as connection:
        connection.execute(sa.update(orders).where(orders.c.id == 1).values(total=100))
    publish()
    changed = http.get(PATH, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["rows"][0] == {
        "customer_id": 1,
        "name": "Customer 1",
        "orders": 1,
        "total": "100.00",
    }


@pytest.mark.parametrize(
    "wrong", [{"window": "2d"}, {"limit": 0}, {"limit": "x"}, {"min_orders": 0}]
)
def test_invalid_report_query_is_rejected_by_field_name(
    http: httpx.Client, wrong: dict[str, object]
) -> None:
    answer = http.get(PATH, params={name: str(value) for name, value in wrong.items()})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [*wrong]
