"""Updates sent by HTTP: single ones, and batches of which every line is counted."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx
import pytest

from orderworks.core.settings import Settings
from orderworks.updates.drain import DrainResult
from orderworks.updates.messages import OrderUpdate
from orderworks.updates.stream import UpdateStream
from orderworks_app.gateway.transfers import ndjson
from tests.support.gateways import JSON, client_of, running_gateway
from tests.support.types import WriteRows

"""Orders by id: customer, status, total, version."""

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def waiting(updates: UpdateStream) -> Callable[[], list[OrderUpdate]]:
    """The waiting updates, shard by shard."""

    def read() -> list[OrderUpdate]:
        entries = [entry for shard in updates.all_shards() for entry in updates.read(shard, 10**6)]
        return [OrderUpdate.decode(entry.payload) for entry in entries]

    return read


def batch(http: httpx.Client, *lines: str, **query: str) -> httpx.Response:
    """Send lines as a batch."""
    body = "".join(f"{line}\n" for line in lines)
    return http.post("/v1/orders:batch", content=body, headers=NDJSON, params=query)


def paid(*ids: int) -> list[str]:
    """Lines that set these orders to paid."""
    return [json.dumps({"order_id": each, "status": "paid"}) for each in ids]


def test_update_is_accepted_with_all_its_fields(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    document = {"total": "19.99", "status": "paid", "customer_id": 7, "version": 3}
    answer = http.post("/v1/orders/42", json=document)
    assert answer.status_code == 202
    assert answer.json() == {"entry": answer.json()["entry"], "order_id": 42}
    assert waiting() == [
        OrderUpdate(order_id=42, total="19.99", status="paid", customer_id=7, version=3)
    ]


@pytest.mark.parametrize(
    ("order", "document", "field"),
    [
        ("1", {}, "update"),
        ("1", {"status": ""}, "status"),
        ("1", {"status": 7}, "status"),
        ("1", {"total": "1.005"}, "total"),
        ("1", {"total": "NaN"}, "total"),
        ("1", {"total": 1, "price": 2}, "price"),
        ("1", [], "body"),
        ("1", {"customer_id": 0}, "customer_id"),
        ("1", {"version": 2**63}, "version"),
        ("0", {"status": "paid"}, "order_id"),
        ("x", {"status": "paid"}, "order_id"),
        (str(2**63), {"status": "paid"}, "order_id"),
    ],
)
def test_invalid_update_is_rejected_by_field_name(
    http: httpx.Client,
    waiting: Callable[[], list[OrderUpdate]],
    order: str,
    document: object,
    field: str,
) -> None:
    answer = http.post(f"/v1/orders/{order}", json=document)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert not waiting()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b'{"status":"a"} x'])
def test_invalid_json_is_a_malformed_problem(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/orders/1", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["type"] in {
        "urn:orderworks:problem:malformed",
        "urn:orderworks:problem:invalid",
    }


def test_verdict_of_tracked_update_is_returned(
    http: httpx.Client, seed: WriteRows, drain: Callable[[], Sequence[DrainResult]]
) -> None:
    seed({1: (7, "new", Decimal("5.00"), 0)})
    answer = http.post("/v1/orders/1", json={"status": "paid"}, params={"track": "true"}).json()
    verdict = f"/v1/orders/1/updates/{answer['entry']}"
    for wait in ("0", "0.05"):
        assert http.get(verdict, params={"wait": wait}).json()["verdict"] is None
    drain()
    response = http.get(verdict, params={"wait": "30"})
    assert response.json() == {**answer, "verdict": "applied", "reason": ""}


def test_request_waits_for_a_verdict(
    http: httpx.Client, seed: WriteRows, drain: Callable[[], Sequence[DrainResult]]
) -> None:
    seed({1: (7, "new", Decimal("5.00"), 0)})
    answer = http.post("/v1/orders/1", json={"status": "paid"}, params={"track": "true"}).json()
    verdict = f"/v1/orders/1/updates/{answer['entry']}"
    with ThreadPoolExecutor(1) as pool:
        response = pool.submit(http.get, verdict, params={"wait": "30"})
        drain()
        assert response.result().json()["verdict"] == "applied"


@pytest.mark.parametrize(
    "path", ["1/updates/none", "1/updates/1-0?wait=31", "1/updates/1-0?wait=-1"]
)
def test_invalid_verdict_query_is_rejected(http: httpx.Client, path: str) -> None:
    assert http.get(f"/v1/orders/{path}").status_code == 422


def test_durable_update_is_accepted(http: httpx.Client) -> None:
    answer = http.post("/v1/orders/1", json={"status": "paid"}, params={"durable": "true"})
    assert answer.status_code == 202
    assert answer.json() == {"entry": answer.json()["entry"], "order_id": 1}


def test_a_batch_is_accepted_in_order(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    answer = batch(http, *paid(*range(2, 5002, 2)))
    assert answer.status_code == 202
    assert answer.json() == {"lines": 2500, "accepted": 2500, "rejected_count": 0, "rejected": []}
    assert [each.order_id for each in waiting()] == list(range(2, 5002, 2))


def test_bad_line_is_rejected_without_affecting_other_lines(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    good = '{"order_id":3,"total":5}\r'
    answer = batch(http, *paid(1), "nonsense", "", '{"order_id":2,"total":"x"}', good, "  ")
    account = answer.json()
    assert (account["lines"], account["accepted"], account["rejected_count"]) == (4, 2, 2)
    assert [(each["line"], each["field"]) for each in account["rejected"]] == [
        (2, "update"),
        (4, "total"),
    ]
    assert sorted(each.order_id for each in waiting()) == [1, 3]


def test_only_the_first_rejected_lines_are_listed(http: httpx.Client) -> None:
    account = batch(http, *["nonsense"] * (ndjson.MAX_LISTED_REJECTS + 50)).json()
    assert account["rejected_count"] == ndjson.MAX_LISTED_REJECTS + 50
    assert [each["line"] for each in account["rejected"]] == list(
        range(1, ndjson.MAX_LISTED_REJECTS + 1)
    )


def test_batch_stops_after_many_rejects_with_counts_that_add_up(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    answer = batch(http, *paid(1, 2), "", *["{}"] * ndjson.MAX_REJECTS, *paid(3))
    result = answer.json()
    assert answer.status_code == 422
    assert result["type"] == "urn:orderworks:problem:too-many-rejects"
    assert (result["accepted"], result["rejected_count"]) == (2, ndjson.MAX_REJECTS)
    assert result["lines"] == 2 + ndjson.MAX_REJECTS
    assert result["next_line"] == 2 + 1 + ndjson.MAX_REJECTS + 1
    assert (result["refused"], result["uncertain"]) == ([], [])
    assert len(result["rejected"]) == ndjson.MAX_LISTED_REJECTS
    assert sorted(each.order_id for each in waiting()) == [1, 2]


def test_batch_of_rejects_only_reports_their_number_and_accepts_nothing(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]]
) -> None:
    result = batch(http, *["1"] * (ndjson.MAX_REJECTS + 1000)).json()
    assert (result["accepted"], result["rejected_count"]) == (0, ndjson.MAX_REJECTS)
    assert result["next_line"] == ndjson.MAX_REJECTS + 1
    assert not waiting()


def test_blank_lines_do_not_count_and_cost_little(http: httpx.Client) -> None:
    body = b"\n \r\n" * 300_000 + paid(1)[0].encode() + b"\n" * 300_000
    answer = http.post("/v1/orders:batch", content=body, headers=NDJSON)
    assert answer.json() == {"lines": 1, "accepted": 1, "rejected_count": 0, "rejected": []}


def test_error_of_a_rejected_line_is_short(http: httpx.Client) -> None:
    answer = batch(http, *[json.dumps({"order_id": 1, "n" * 100_000: 1})] * 100)
    assert len(answer.content) < 100_000


@pytest.mark.parametrize("total", ["\uff11\uff12.00", "\u0663", "1_0", "1e2"])
def test_total_in_other_digits_than_plain_ascii_is_refused(
    http: httpx.Client, waiting: Callable[[], list[OrderUpdate]], total: str
) -> None:
    single = http.post("/v1/orders/1", json={"total": total})
    assert single.status_code == 422
    assert [each["field"] for each in single.json()["errors"]] == ["total"]
    many = batch(http, json.dumps({"order_id": 1, "total": total}, ensure_ascii=False))
    assert [each["field"] for each in many.json()["rejected"]] == ["total"]
    assert not waiting()


def test_number_with_an_endless_exponent_is_refused(http: httpx.Client) -> None:
    body = b'{"total":1e999999999999999999999}'
    answer = http.post("/v1/orders/1", content=body, headers=JSON)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["total"]


def test_too_long_line_is_rejected_in_any_chunking(settings: Settings) -> None:
    """The line is never in memory as a whole, and the lines after it are read."""
    small = settings.model_copy(update={"gateway_max_body": 1000})
    long = '{"order_id":2,"status":"' + "x" * 300_000 + '"}'
    whole = "\n".join([*paid(1), long, *paid(3), long]).encode()

    def pieces(size: int) -> Iterator[bytes]:
        yield from (whole[start : start + size] for start in range(0, len(whole), size))

    with running_gateway(small) as address, client_of(address) as client:
        for size in (7_001, 100_003, len(whole)):
            account = client.post("/v1/orders:batch", content=pieces(size), headers=NDJSON).json()
            assert (account["lines"], account["accepted"]) == (4, 2)
            assert [each["line"] for each in account["rejected"]] == [2, 4]


def test_full_shard_stops_a_batch_with_exact_accepted_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two shards is full, so half of the chunk that meets it is accepted."""
    monkeypatch.setenv("STREAM_LIMIT", "1000")
    lines = [*paid(*range(2, 2002, 2)), *paid(*range(1, 401))]
    with running_gateway(Settings.load()) as address, client_of(address) as client:
        answer = batch(client, *lines, *["nonsense"] * 5)
    account = answer.json()
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert account["type"] == "urn:orderworks:problem:backpressure"
    assert account["accepted"] == 1200
    assert account["refused"] == list(range(1002, 1401, 2)), "the even orders among the last 400"
    assert account["uncertain"] == []
    assert account["lines"] == (
        account["accepted"] + len(account["refused"]) + account["rejected_count"]
    )
    assert account["next_line"] == account["lines"] + 1


def test_too_large_batch_reports_accepted_lines(settings: Settings) -> None:
    # Some times what a server reads from a connection at once.
    small = settings.model_copy(update={"gateway_max_batch": 1_000_000})
    lines = [f"{line}\n".encode() for line in paid(*range(1, 50_001))]
    with running_gateway(small) as address, client_of(address) as client:
        sized = client.post("/v1/orders:batch", content=b"".join(lines), headers=NDJSON)
        chunked = client.post("/v1/orders:batch", content=iter(lines), headers=NDJSON)
    assert (sized.status_code, chunked.status_code) == (413, 413)
    assert "accepted" not in sized.json()
    result = chunked.json()
    assert result["accepted"] == result["lines"] == result["next_line"] - 1
    assert result["accepted"] > 1000
