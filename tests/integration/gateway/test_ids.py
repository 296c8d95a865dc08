"""Ids and other numbers: plain digits in paths and queries, and text for clients in JavaScript."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from orderworks.reports.refresh import refresh
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from tests.support.gateways import JSON
from tests.support.types import DrainAll, WriteRows

WIDE = 2**53 + 1
"""The first integer that a double does not hold."""

NOT_PLAIN = [
    *("1_0", "1.0", " 1", "1 ", "+1", "-1", "01", "00", "1e1", "0x1", "1\n", "\uff11", "\u0661"),
    *("1\u00b2", "", str(2**63), "9" * 5000),
]
"""Texts that Python or JavaScript read as a number, or nearly."""

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def waiting(updates: UpdateStream) -> Callable[[], list[OrderUpdate]]:
    """The waiting updates, shard by shard."""

    def read() -> list[OrderUpdate]:
        entries = [entry for shard in updates.all_shards() for entry in updates.read(shard, 10**6)]
        return [OrderUpdate.decode(entry.payload) for entry in entries]

    return read


def test_id_in_a_path_has_one_spelling(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    for text in (*NOT_PLAIN, "0"):
        id_ = "".join(f"%{byte:02x}" for byte in text[:300].encode())
        for path in ("customers/{}", "customers/{}/summary", "customers/{}/orders"):
            assert http.get(f"/v1/{path.format(id_)}").status_code in (404, 422), text
        assert http.get(f"/v1/orders/{id_}/updates/1-1").status_code in (404, 422), text
        answer = http.post(f"/v1/orders/{id_}", json={"status": "paid"})
        assert answer.status_code in (404, 405, 422), text
    assert not waiting()


def test_invalid_digits_are_explained(http: httpx.Client) -> None:
    answer = http.get("/v1/customers/1_0").json()
    assert answer["detail"].startswith("customer_id: write the number in digits 0 to 9")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/customers/1/orders", ["limit"]),
        ("/v1/dead", ["limit", "order", "id"]),
        ("/v1/imports", ["limit"]),
        ("/v1/reports/top-customers", ["limit", "min_orders"]),
    ],
)
def test_integer_of_a_query_has_one_spelling(
    http: httpx.Client, path: str, names: list[str]
) -> None:
    for name in names:
        for text in NOT_PLAIN:
            answer = http.get(path, params={name: text})
            assert answer.status_code == 422, (name, text)
            assert answer.json()["errors"][0]["field"].startswith(name)


def test_seconds_of_a_query_are_plain_decimals(http: httpx.Client) -> None:
    for text in ("1_0", "+1", " 1", "1e1", "\uff11", ".5", "1.", "inf"):
        answer = http.get("/v1/orders/1/updates/1-1", params={"wait": text})
        assert answer.status_code == 422, text


def test_single_update_may_have_ids_as_text(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    document = {"customer_id": str(WIDE), "version": str(2**63 - 1)}
    answer = http.post(f"/v1/orders/{WIDE}?ids=text", json=document)
    assert (answer.status_code, answer.json()["order_id"]) == (202, str(WIDE))
    assert waiting() == [OrderUpdate(order_id=WIDE, customer_id=WIDE, version=2**63 - 1)]


def test_lines_of_a_batch_may_have_ids_as_text(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    documents = [
        {"order_id": str(WIDE), "customer_id": str(WIDE), "version": "0"},
        {"order_id": WIDE + 1, "total": "1.00"},
    ]
    body = "\n".join(map(json.dumps, documents))
    answer = http.post("/v1/orders:batch", content=body, headers=NDJSON)
    assert answer.json()["accepted"] == 2
    assert sorted(waiting(), key=lambda each: each.order_id) == [
        OrderUpdate(order_id=WIDE, customer_id=WIDE, version=0),
        OrderUpdate(order_id=WIDE + 1, total="1.00"),
    ]


def test_version_may_be_a_moment(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    moment = datetime(2026, 11, 26, 11, tzinfo=UTC)
    change = {"status": "paid", "version": "2026-11-26T12:00:00+01:00"}
    assert http.post("/v1/orders/1", json=change).status_code == 202
    line = json.dumps({"order_id": 2, **change})
    assert http.post("/v1/orders:batch", content=line, headers=NDJSON).json()["accepted"] == 1
    assert sorted(waiting(), key=lambda each: each.order_id) == [
        OrderUpdate(order_id=order_id, status="paid", version=moment) for order_id in (1, 2)
    ]
    naive = http.post("/v1/orders/1", json={**change, "version": "2026-11-26T12:00:00"})
    assert naive.status_code == 422
    assert [each["field"] for each in naive.json()["errors"]] == ["version"]


def test_text_that_is_not_plain_digits_is_no_id(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    fields = ("order_id", "customer_id", "version")
    expected = [field for field in fields for _text in NOT_PLAIN]
    lines = [
        json.dumps({"order_id": 1, "status": "paid", field: text})
        for field in fields
        for text in NOT_PLAIN
    ]
    answer = http.post("/v1/orders:batch", content="\n".join(lines), headers=NDJSON).json()
    assert [each["field"] for each in answer["rejected"]] == expected
    for field in fields[1:]:
        single = http.post("/v1/orders/1", json={field: "01"})
        assert [each["field"] for each in single.json()["errors"]] == [field]
    assert not waiting()


def test_id_is_neither_a_fraction_nor_another_type(http: httpx.Client) -> None:
    ids: list[object] = [1.0, True, None, [1], {}]
    lines = [json.dumps({"order_id": each, "status": "paid"}) for each in ids]
    answer = http.post("/v1/orders:batch", content="\n".join(lines), headers=NDJSON).json()
    assert [each["field"] for each in answer["rejected"]] == ["order_id"] * len(ids)


def test_responses_have_ids_as_text_if_requested(
    http: httpx.Client,
    seed: WriteRows,
    drain: DrainAll,
    engine: sa.Engine,
    cache: Any,  # noqa: ANN401 - a client
) -> None:
    seed({WIDE: (WIDE, "new", Decimal("5.00"), 0), 7: (WIDE, "new", Decimal("1.00"), 0)})
    refresh(engine, cache, lambda _ids: None, depth=10)

    def get(path: str) -> Any:  # noqa: ANN401 - JSON
        answer = http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert get(f"/v1/customers/{WIDE}?ids=text")["id"] == str(WIDE)
    assert get(f"/v1/customers/{WIDE}/summary?ids=text")["customer_id"] == str(WIDE)
    page = get(f"/v1/customers/{WIDE}/orders?ids=text&limit=1")
    rest = get(f"/v1/customers/{WIDE}/orders?ids=text&limit=1&cursor={page['next']}")
    assert {each["id"] for each in page["orders"] + rest["orders"]} == {str(WIDE), "7"}
    assert page["orders"][0]["total"] in ("5.00", "1.00")
    (row,) = get("/v1/reports/top-customers?ids=text")["rows"]
    assert (row["customer_id"], row["orders"], row["total"]) == (str(WIDE), 2, "6.00")
    body = {"ids": [str(WIDE), 8]}
    found = http.post("/v1/customers:lookup?ids=text", json=body).json()
    assert [each["id"] for each in found["customers"]] == [str(WIDE)]
    assert found["missing"] == ["8"]
    assert get(f"/v1/customers/{WIDE}")["id"] == WIDE
    drain()


def test_dead_letters_are_selected_and_listed_by_ids_as_text(
    http: httpx.Client, updates: UpdateStream, drain: DrainAll
) -> None:
    document = b'{"order_id":%d,"status":""}' % WIDE
    updates.append(updates.shard_of(WIDE), [document])
    drain()
    (letter,) = http.get("/v1/dead?ids=text").json()["dead"]
    assert all(isinstance(letter[name], str) for name in ("id",))
    options = {"ids": [letter["id"]], "dry_run": True}
    (unreadable,) = http.post("/v1/dead:replay?ids=text", json=options).json()["unreadable"]
    assert unreadable["id"] == letter["id"]
    by_order = {"filter": {"order": str(WIDE)}, "dry_run": True}
    assert http.post("/v1/dead:replay", json=by_order).status_code == 200
    for invalid in ("01", "1_0", str(2**63)):
        answer = http.post("/v1/dead:replay", json={"ids": [invalid]}, headers=JSON)
        assert [each["field"] for each in answer.json()["errors"]] == ["ids"]


def test_unknown_form_of_ids_is_refused(http: httpx.Client) -> None:
    for path in ("/v1/customers/1", "/v1/dead", "/v1/reports/top-customers"):
        answer = http.get(path, params={"ids": "texts"})
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == ["ids"]
