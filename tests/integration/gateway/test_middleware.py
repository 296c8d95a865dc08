"""Health of the gateway, and what the middleware does for all requests."""

import httpx
import pytest

from tests.support.gateways import JSON


def test_healthz_and_readyz_report_ok(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["servers"] == {"postgresql": "ok", "stream": "ok", "cache": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [("GET", "/v1/nothing", 404, "not-found"), ("DELETE", "/healthz", 405, "wrong-method")],
)
def test_framework_errors_are_problem_documents(
    http: httpx.Client, method: str, path: str, status: int, kind: str
) -> None:
    answer = http.request(method, path, headers=JSON)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:orderworks:problem:{kind}"


def test_valid_request_id_is_kept_and_invalid_one_is_replaced(http: httpx.Client) -> None:
    kept = http.get("/healthz", headers={"X-Request-ID": "order-42.a:b_c"})
    assert kept.headers["X-Request-ID"] == "order-42.a:b_c"
    for invalid in ("", "a b", "x" * 65, '{"a":1}'):
        response = http.get("/healthz", headers={"X-Request-ID": invalid})
        assert response.headers["X-Request-ID"] not in ("", invalid)


def test_unknown_host_header_is_rejected(http: httpx.Client) -> None:
    """Another site can make its name resolve to this machine, so that browsers send requests here."""
    assert http.get("/healthz", headers={"Host": "localhost:99"}).status_code == 200
    assert http.get("/healthz", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_cross_site_content_types_are_rejected(
    http: httpx.Client, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = http.post("/v1/orders/1", content=b'{"status":"paid"}', headers=headers)
    assert answer.status_code == 415


def test_every_response_has_a_strict_content_security_policy(http: httpx.Client) -> None:
    for path in ("/healthz", "/v1/nothing"):
        policy = http.get(path).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
