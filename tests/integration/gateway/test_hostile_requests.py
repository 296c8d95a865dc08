"""Hostile requests: none of them is answered by 5xx, and others are served after each.

`test_limits.py` has those that are refused for their size or time.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx

from orderworks.updates.stream import UpdateStream

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
PAID = b'{"status":"paid"}'
LENGTH = b"Content-Length: 17\r\n"

PATHS = (
    *("/", "/page/..%2f..%2fapp.py", "/page/%00", "/healthz", "/readyz", "/docs", "/openapi.json"),
    *("/v1/orders/%ff", "/v1/orders/1/updates/%fe-1", "/v1/customers/%c0%af", "/v1/customers/1"),
    *("/v1/customers/1/orders", "/v1/customers/1/summary", "/v1/customers:lookup", "/v1/dead"),
    *("/v1/dead:replay", "/v1/imports", "/v1/imports/%ff", "/v1/imports/x", "/v1/imports/x:import"),
    *("/v1/imports/x/rejects", "/v1/imports/x/rejects/reasons", "/v1/imports/x/events"),
    *(
        "/v1/imports/x:pause",
        "/v1/reports/top-customers",
        "/v1/status",
        "/metrics",
        "/../etc/passwd",
    ),
    *("//healthz", "/v1/orders:batch", "/v1/%2e%2e/healthz", "/%", "/%zz", "/v1/orders/1;a=b"),
)

QUERIES = ("", "?%ff=%fe", "?limit=%ff&limit=2&&=", "?ids=%00&cursor=%ff")

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "BREW")


def request(line: bytes, headers: bytes, body: bytes = b"") -> bytes:
    """Return a request to this host after which the connection ends."""
    return line + b" HTTP/1.1\r\n" + HOST + CLOSE + headers + b"\r\n" + body


def of_each_route() -> Iterator[bytes]:
    """Yield odd methods, paths and queries of all routes."""
    for path in PATHS:
        for query in QUERIES:
            yield request(f"GET {path}{query}".encode(), b"")
        for method in METHODS:
            yield request(f"{method} {path}".encode(), JSON + LENGTH, PAID)


def of_heads() -> Iterator[bytes]:
    """Yield heads that are invalid, repeated, contradictory or absurd."""
    update = b"POST /v1/orders/1"
    yield b"\r\n\r\n" + request(b"GET /healthz", b"")
    yield b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n"
    yield b"GET /healthz HTTP/1.0\r\n\r\n"
    yield b"GET /healthz\r\n\r\n"
    yield b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    yield b"GET * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    yield b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    yield b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n"
    for headers in (
        HOST,
        b"Host: evil.example\r\n",
        b"Host : 127.0.0.1\r\n",
        b" folded: a\r\n",
        b"A\x00B: c\r\n",
        b"A: b\x00c\r\n",
        b"A: b\rC: d\r\n",
        b": no name\r\n",
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Authorization: Bearer " + b"x" * 50_000 + b"\r\n",
        b"Authorization: Basic YTpi\r\nAuthorization: Bearer x\r\n",
        b"X-Request-ID: \xff\r\nX-Request-ID: b\r\n",
        b"X-Forwarded-For: 1.2.3.4, \xff\r\n",
        b"If-None-Match: " + b'"a",' * 10_000 + b"\r\n",
        b"Accept-Encoding: gzip\r\nRange: bytes=0-99999999999999999999\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    ):
        yield request(b"GET /v1/reports/top-customers", headers)
        yield request(update, JSON + LENGTH + headers, PAID)
    for key in (b"", b"\xff", b"a b", b"x" * 300):
        yield request(update, JSON + LENGTH + b"Idempotency-Key: " + key + b"\r\n", PAID)


def of_bodies() -> Iterator[bytes]:
    """Yield bodies whose length is contradictory, absurd or in odd chunks."""
    update, chunked = b"POST /v1/orders/1", JSON + b"Transfer-Encoding: chunked\r\n"
    for headers in (
        b"Content-Length: -1\r\n",
        b"Content-Length: +17\r\n",
        b"Content-Length: 1_7\r\n",
        b"Content-Length: 0x11\r\n",
        b"Content-Length: 17, 17\r\n",
        b"Content-Length: \xb9\xb2\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 9223372036854775807\r\n",
        b"Content-Length: 17\r\nContent-Length: 18\r\n",
        b"Content-Length: 17\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 17\r\n",
        b"Expect: 100-continue\r\nContent-Length: 17\r\n",
        b"Expect: 200-ok\r\nContent-Length: 17\r\n",
    ):
        yield request(update, JSON + headers, PAID)
    for chunks in (
        b"0\r\n\r\n",
        b"-1\r\n\r\n",
        b"+11\r\n" + PAID + b"\r\n0\r\n\r\n",
        b"0x11\r\n" + PAID + b"\r\n0\r\n\r\n",
        b"1_1\r\n" + PAID + b"\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\n" + PAID,
        b"fffffffffffffffff\r\n" + PAID,
        b"11;a=b;c\r\n" + PAID + b"\r\n0\r\n\r\n",
        b"11\n" + PAID + b"\n0\n\n",
        b"11\r\n" + PAID + b"XX0\r\n\r\n",
        b"11\r\n" + PAID + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"11\r\n" + PAID + b"\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n",
    ):
        yield request(update, chunked, chunks)
    for body in (b"\xff" * 17, b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 17, b"9" * 100_000):
        headers = JSON + b"Content-Length: %d\r\n" % len(body)
        for path in (b"orders/1", b"orders:batch", b"customers:lookup", b"dead:replay", b"imports"):
            yield request(b"POST /v1/" + path, headers, body)


def response_to(address: str, sent: bytes) -> bytes:
    """Return all that the gateway sends, or what it sent within a moment if it waits for more."""
    url = httpx.URL(address)
    received = b""
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        with suppress(OSError):
            connection.sendall(sent)
            # The end of the input: so the gateway does not wait for a body that is longer.
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
                if b"text/event-stream" in received:
                    break
    return received


def statuses(received: bytes) -> list[int]:
    """Return the status of each response."""
    parts = received.split(b"HTTP/1.1 ")[1:]
    return [int(each[:3]) for each in parts if each[:3].isdigit()]


def test_hostile_requests_cause_no_server_error_and_stop_no_other_request(
    gateway: str, updates: UpdateStream
) -> None:
    with httpx.Client(base_url=gateway, timeout=30) as client:
        for hostile in (*of_each_route(), *of_heads(), *of_bodies()):
            received = response_to(gateway, hostile)
            assert all(status < 500 for status in statuses(received)), (
                hostile[:300],
                received[:600],
            )
            assert client.get("/healthz").status_code == 200, hostile[:300]
    lengths = [*map(updates.length, updates.all_shards())]
    assert lengths[0] == 0, "only order 1 is named"
