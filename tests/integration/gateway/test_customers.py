"""Customers through the gateway: one at a time from the cache, many at once from the database."""

from decimal import Decimal

import httpx
import pytest
import sqlalchemy as sa

from orderworks.cache import invalidate
from orderworks.core.redis import Redis
from orderworks.core.schema import orders
from tests.support.types import OrderRows, WriteRows

SHOP: OrderRows = {
    1: (7, "paid", Decimal("19.99"), 1),
    2: (7, "cancelled", Decimal("5.00"), 1),
    3: (7, "paid", Decimal("0.01"), 1),
    4: (8, "paid", Decimal("1.50"), 1),
}


@pytest.fixture(autouse=True)
def two_customers(seed: WriteRows) -> None:
    """Two customers, one with a cancelled order."""
    seed(SHOP)


def test_customer_and_order_summary_are_returned(http: httpx.Client) -> None:
    assert http.get("/v1/customers/7").json() == {
        "id": 7,
        "name": "Customer 7",
        "email": None,
        "phone": None,
    }
    summary = http.get("/v1/customers/7/summary").json()
    assert (summary["orders"], summary["total"]) == (2, "20.00")
    assert summary["last_order_at"]


@pytest.mark.parametrize("path", ["/v1/customers/9", "/v1/customers/9/summary"])
def test_unknown_customer_is_404_problem(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:orderworks:problem:not-found"


@pytest.mark.parametrize("path", ["/v1/customers/{}", "/v1/customers/{}/summary"])
@pytest.mark.parametrize(
    "id_", ["0", "-7", "x", "7x", "007", "%2B7", "9223372036854775808", "1" * 30]
)
def test_invalid_customer_id_is_rejected_by_field_name(
    http: httpx.Client, path: str, id_: str
) -> None:
    answer = http.get(path.format(id_))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "customer_id"


def test_id_of_plain_digits_returns_its_customer(http: httpx.Client) -> None:
    assert http.get("/v1/customers/7").json()["name"] == "Customer 7"


def test_reads_come_from_cache_until_invalidation(
    http: httpx.Client, engine: sa.Engine, cache: Redis
) -> None:
    def status() -> str:
        page = http.get("/v1/customers/8/orders").json()
        return str(page["orders"][0]["status"])

    assert status() == "paid"
    with engine.begin() as connection:
        connection.execute(sa.update(orders).where(orders.c.id == 4).values(status="sent"))
    assert status() == "paid", "it is cached"
    invalidate(cache, [8])
    assert status() == "sent"


def test_pages_contain_each_order_exactly_once(http: httpx.Client, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        # Orders of one moment, so that the id decides.
        rows = [
            {"id": number, "customer_id": 8, "total": "1.00", "status": "paid"}
            for number in range(100, 123)
        ]
        connection.execute(sa.insert(orders), rows)
    seen: list[int] = []
    path = "/v1/customers/8/orders?limit=10"
    while path:
        answer = http.get(path)
        seen += [order["id"] for order in answer.json()["orders"]]
        path = str(answer.links.get("next", {}).get("url", ""))
        assert bool(path) == bool(answer.json()["next"])
    assert seen == [*range(122, 99, -1), 4]


@pytest.mark.parametrize("cursor", ["", "x", "WzEsMl0", "WyIyMDI2LTExLTI2VDE1OjAwOjAwIiwyXQ", "é"])
def test_invalid_cursor_is_rejected_by_field_name(http: httpx.Client, cursor: str) -> None:
    """The last but one has a time without a zone, which the database would take for another time."""
    answer = http.get("/v1/customers/8/orders", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "cursor"


def test_lookup_returns_existing_customers_and_lists_missing_ids(http: httpx.Client) -> None:
    result = http.post("/v1/customers:lookup", json={"ids": [9, 8, 7, 7, 10]}).json()
    assert [each["id"] for each in result["customers"]] == [7, 8]
    assert result["missing"] == [9, 10]
    for each in result["customers"]:
        summary = http.get(f"/v1/customers/{each['id']}/summary").json()
        assert {name: each[name] for name in ("orders", "total", "last_order_at")} == {
            name: summary[name] for name in ("orders", "total", "last_order_at")
        }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ids": list(range(1, 1002))}, "ids"),
        ({"ids": [0]}, "ids[0]"),
        ({"ids": ["07"]}, "ids"),
        ({}, "ids"),
        ({"ids": [1], "id": 1}, "id"),
    ],
)
def test_invalid_lookup_is_rejected_by_field_name(
    http: httpx.Client, body: dict[str, object], field: str
) -> None:
    answer = http.post("/v1/customers:lookup", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
