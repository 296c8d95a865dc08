"""Limits of what a connection may send: heads, their time, framing of bodies, pipelined requests."""

import resource
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress

import httpx
import psutil
import pytest

from orderworks.core.settings import Settings
from orderworks_app.gateway.http import descriptors, middleware, protocol
from tests.support.gateways import JSON, running_gateway
from tests.support.processes import eventually

MOST_MEMORY = 32 << 20

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"

CHUNKED = (
    b"POST /v1/orders:batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)

LINE = b'{"order_id":1,"status":"paid"}\n'


def exchange(address: str, pieces: Iterable[bytes]) -> bytes:
    """Send all pieces, as far as the gateway takes them; return all that it answers."""
    url = httpx.URL(address)
    received = b""
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        with suppress(OSError):
            for each in pieces:
                connection.sendall(each)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
    return received


def status_of(response: bytes) -> int:
    """Return the status of the first response, 0 without one."""
    return int(response.split(b" ", 2)[1]) if response else 0


def assert_alive(address: str) -> None:
    """Check that the gateway serves other requests."""
    assert httpx.get(f"{address}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param((GET + b"A: ", b"x" * 1_000_000), id="header"),
        pytest.param((GET, b"A: b\r\n" * 100_000), id="headers"),
        pytest.param((b"GET /", b"x" * 1_000_000), id="path"),
        pytest.param((CHUNKED + b"1;", b"x" * 1_000_000), id="extension of a chunk"),
        pytest.param((CHUNKED + b"0\r\nA: ", b"x" * 1_000_000), id="trailer"),
        pytest.param((CHUNKED + b"0\r\n", b"A: b\r\n" * 100_000), id="trailers"),
    ],
)
def test_endless_head_or_framing_is_refused_in_little_memory(
    gateway: str, endless: tuple[bytes, bytes]
) -> None:
    begin, more = endless
    assert_alive(gateway)
    before = psutil.Process().memory_info().rss
    response = exchange(gateway, [begin, *[more] * 100])
    assert psutil.Process().memory_info().rss - before < MOST_MEMORY
    assert status_of(response) == 431
    assert b"application/problem+json" in response
    assert b"head-too-large" in response
    assert_alive(gateway)


@pytest.mark.parametrize(("headers", "status"), [(90, 200), (101, 431)])
def test_number_of_headers_is_limited(gateway: str, headers: int, status: int) -> None:
    head = GET + b"A: b\r\n" * headers + b"Connection: close\r\n\r\n"
    assert status_of(exchange(gateway, [head])) == status


def test_head_below_the_limit_is_served(gateway: str) -> None:
    long = b"A: " + b"x" * 60_000 + b"\r\nConnection: close\r\n\r\n"
    assert status_of(exchange(gateway, [GET + long])) == 200


def test_slow_head_times_out_with_408(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)
    response = exchange(gateway, [GET])
    assert status_of(response) == 408
    assert b"too-slow" in response


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_connection_without_a_request_is_closed(
    gateway: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)
    assert exchange(gateway, [sent]) == b""


def test_requests_that_wait_on_one_connection_are_limited(gateway: str) -> None:
    response = exchange(gateway, [(GET + b"\r\n") * 20_000])
    assert response.count(b"HTTP/1.1 200") <= protocol.MAX_PIPELINED + 1
    assert_alive(gateway)


def test_few_pipelined_requests_are_all_answered(gateway: str) -> None:
    last = GET + b"Connection: close\r\n\r\n"
    response = exchange(gateway, [(GET + b"\r\n") * (protocol.MAX_PIPELINED - 1) + last])
    assert response.count(b"HTTP/1.1 200") == protocol.MAX_PIPELINED


def test_chunks_of_one_byte_are_accepted(gateway: str) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in LINE * 1000)
    response = exchange(gateway, [CHUNKED, chunks, b"0\r\n\r\n"])
    assert status_of(response) == 202
    assert b'"accepted":1000,' in response


def test_trailers_are_not_headers(gateway: str) -> None:
    """A proxy that removes a header from requests may pass the same name on as a trailer."""
    trailer = b"%x\r\n%b\r\n0\r\nIdempotency-Key: once\r\n\r\n" % (len(LINE), LINE)
    first, second = (exchange(gateway, [CHUNKED, trailer]) for _ in range(2))
    assert (status_of(first), status_of(second)) == (202, 202)
    assert b"Idempotency-Replayed" not in second


def test_invalid_http_is_a_problem(gateway: str) -> None:
    response = exchange(gateway, [b"nonsense\r\n\r\n"])
    assert status_of(response) == 400
    assert b"urn:orderworks:problem:malformed" in response


def test_invalid_http_after_a_request_does_not_become_its_response(gateway: str) -> None:
    response = exchange(gateway, [GET + b"\r\n" + b"nonsense\r\n\r\n"])
    assert b"400" not in response.partition(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/v1/imports/" + ":" * 5000 + "/", "/" + "a/" * 600])
def test_long_path_is_404_before_it_is_matched(http: httpx.Client, path: str) -> None:
    answer = http.post(path, headers=JSON)
    assert answer.status_code == 404
    assert "characters" in answer.json()["detail"]


def test_number_of_parameters_is_limited(http: httpx.Client) -> None:
    ids = "&".join(f"id={each}" for each in range(1, middleware.MAX_PARAMETERS))
    assert http.get(f"/v1/dead?{ids}&limit=1").status_code == 422
    assert http.get(f"/v1/dead?{ids}&limit=1&limit=1").json()["detail"].startswith("the query has")
    some = "&".join(f"id={each}" for each in range(1, 1001))
    # All of them are looked up, and none exists.
    assert http.get(f"/v1/dead?{some}&limit=1").status_code == 404


def test_event_streams_are_limited(settings: Settings) -> None:
    few = settings.model_copy(update={"gateway_max_streams": 2})
    with running_gateway(few) as address, ExitStack() as stack:
        streams = [open_stream(stack, address) for _ in range(2)]
        refused = httpx.get(f"{address}/v1/overview/events", timeout=30)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "GATEWAY_MAX_STREAMS" in refused.json()["detail"]
        assert refused.headers["Connection"] == "close"
        assert_alive(address)
        assert streams[0]
        streams[0].close()
        eventually(lambda: open_stream(stack, address), within=20)


def open_stream(stack: ExitStack, address: str) -> socket.socket | None:
    """Open an event stream; return None if it is refused."""
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, url.port), timeout=30)
    stack.enter_context(connection)
    connection.sendall(b"GET /v1/overview/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection if status_of(connection.recv(1 << 12)) == 200 else None


def test_connections_leave_descriptors_for_the_servers(
    gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 10)
    url = httpx.URL(gateway)
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_connection((url.host, url.port), timeout=30))
        response = exchange(gateway, [])
        assert status_of(response) == 503
        assert b"Retry-After" in response or b"retry-after" in response
    eventually(
        lambda: status_of(exchange(gateway, [GET + b"Connection: close\r\n\r\n"])) == 200, 20
    )


@pytest.mark.parametrize(
    ("soft", "connections", "streams"),
    [(1024, 824, 618), (256, 128, 96), (4096, 3896, 2000), (resource.RLIM_INFINITY, None, 2000)],
)
def test_limit_of_open_files_limits_connections_and_streams(
    monkeypatch: pytest.MonkeyPatch, soft: int, connections: int | None, streams: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, soft))
    assert descriptors.max_connections() == (connections or sys.maxsize)
    assert descriptors.max_streams(2000) == streams
