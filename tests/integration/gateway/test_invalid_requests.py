"""Invalid requests: each gets a problem that names the error, and has no effect."""

import base64
from collections.abc import Sequence

import httpx
import pytest

from tests.support.gateways import JSON

CSV = {"Content-Type": "text/csv"}
FILE = b"id,customer_id,total\n1,1,1.00\n"
EARLY, LATE = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"
"""Times that are out of range in UTC."""


def cursor(text: str) -> str:
    """Encode a cursor as the gateway does."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def fields(answer: httpx.Response, status: int) -> Sequence[str]:
    """The fields that a problem names."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return [each["field"] for each in answer.json().get("errors", ())]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/dead", {"since": EARLY}, "since"),
        ("/v1/dead", {"until": LATE}, "until"),
        ("/v1/dead", {"cursor": cursor("-1")}, "cursor"),
        ("/v1/imports", {"cursor": cursor(f'["{EARLY}","x"]')}, "cursor"),
        ("/v1/imports", {"cursor": cursor(f'["{LATE}","x"]')}, "cursor"),
        ("/v1/customers/1/orders", {"cursor": cursor(f'["{EARLY}",1]')}, "cursor"),
        ("/v1/customers/1/orders", {"cursor": cursor('["10000-01-01T00:00:00Z",1]')}, "cursor"),
        ("/v1/customers/1/orders", {"limits": "5"}, "limits"),
        ("/v1/reports/top-customers", {"windows": "7d"}, "windows"),
        ("/v1/imports/x", {"a": "1", "b": "2"}, "a"),
        ("/v1/customers/9223372036854775808", {}, "customer_id"),
        ("/v1/imports/a%00b", {}, "import_id"),
        ("/v1/orders/1/updates/1-1", {"wait": "nan"}, "wait"),
    ],
)
def test_invalid_query_is_rejected_by_field_name(
    http: httpx.Client, path: str, query: dict[str, str], field: str
) -> None:
    assert fields(http.get(path, params=query), 422) == [field]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"dryrun": "true"}, "dryrun"),
        ({"filename": "a\0b"}, "filename"),
        ({"delimiter": "é"}, "delimiter"),
        ({"keep": "true"}, "keep"),
        ({"as_of": "soon"}, "as_of"),
        ({"as_of": "2236-01-01T00:00:00Z"}, "as_of"),
        ({"create_customers": "true", "kind": "customers"}, "create_customers"),
    ],
)
def test_invalid_import_option_imports_nothing(
    http: httpx.Client, query: dict[str, str], field: str
) -> None:
    assert fields(http.post("/v1/imports", params=query, content=FILE, headers=CSV), 422) == [field]
    assert http.get("/v1/imports").json()["imports"] == []


def test_two_idempotency_keys_are_rejected(http: httpx.Client) -> None:
    headers = [*JSON.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = http.post("/v1/orders/1", content=b'{"status":"paid"}', headers=headers)
    assert fields(answer, 422) == ["Idempotency-Key"]


@pytest.mark.parametrize("path", ["/v1/orders/1/", "/v1/imports/", "/healthz/"])
def test_unknown_path_is_404_without_redirect(http: httpx.Client, path: str) -> None:
    assert fields(http.post(path, headers=JSON), 404) == []


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "HEAD"])
def test_405_lists_allowed_methods(http: httpx.Client, method: str) -> None:
    answer = http.request(method, "/v1/imports/x", headers=JSON)
    assert answer.status_code == 405
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Allow"] == "GET"


def test_health_endpoints_answer_head_requests(http: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        answer = http.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
