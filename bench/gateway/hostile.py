"""Hostile requests, and for how long each of them blocks the event loop of a gateway.

    python -m bench.gateway.hostile

starts servers and a gateway, sends each request alone, and prints the seconds that it took, the longest
time for which the loop was blocked, and how much of that was work of the loop's thread. The rest of it
the thread waited for a processor, or for the interpreter's lock.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import httpx
from rich.text import Text

from bench.gateway.serving import served
from orderworks_app.embedded.own_services import MIGRATIONS
from orderworks_app.embedded.ports import LOOPBACK
from orderworks_app.embedded.stack import SERVERS, temporary_stack
from orderworks_app.terminal import console, table

TIMEOUT = 120.0
"""Seconds after which a request is given up."""

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"

GOOD = b'{"order_id":12345,"total":"19.99","status":"paid"}\n'


class HostileRequest(NamedTuple):
    """The bytes that are sent on one connection; `endless` sends a header without an end after them."""

    name: str
    sent: bytes
    endless: bool = False


def head(target: str, *headers: str) -> bytes:
    """Return the head of a request, which is a GET unless the target names the method."""
    line = target if " " in target else f"GET {target}"
    return "\r\n".join([f"{line} HTTP/1.1", f"Host: {LOOPBACK}", *headers, "", ""]).encode()


def post(target: str, media_type: str, body: bytes) -> bytes:
    """Return a request with a body; the connection is closed after its response."""
    fields = f"Content-Type: {media_type}", f"Content-Length: {len(body)}", "Connection: close"
    return head(f"POST {target}", *fields) + body


def batch(lines: bytes) -> bytes:
    """Return a batch of updates."""
    return post("/v1/orders:batch", NDJSON, lines)


def chunked(target: str, media_type: str, chunks: bytes) -> bytes:
    """Return a request with a chunked body."""
    fields = f"Content-Type: {media_type}", "Transfer-Encoding: chunked", "Connection: close"
    return head(f"POST {target}", *fields) + chunks


def requests() -> Iterator[HostileRequest]:
    """Yield the requests, each with a few megabytes at most; heads are endless."""
    close = "Connection: close"
    yield HostileRequest("nothing but GET /healthz", head("/healthz", close))
    yield HostileRequest("batch: 60,000 good lines", batch(GOOD * 60_000))
    yield HostileRequest(
        "batch: 60,000 good lines, durable",
        post("/v1/orders:batch?durable=true", NDJSON, GOOD * 60_000),
    )
    yield HostileRequest("batch: one bad line in 64", batch((GOOD * 63 + b"{}\n") * 900))
    yield HostileRequest("batch: 300,000 lines {}", batch(b"{}\n" * 300_000))
    yield HostileRequest("batch: 1 MB of newlines", batch(b"\n" * 1_000_000))
    yield HostileRequest("batch: 1 MB of spaces and newlines", batch(b" \n" * 500_000))
    yield HostileRequest("batch: 1 MB of lines of one byte", batch(b"1\n" * 500_000))
    yield HostileRequest("batch: 100 lines with a name of 900 kB", batch(_long_name() * 20))
    yield HostileRequest(
        "batch: chunks of one byte",
        chunked("/v1/orders:batch", NDJSON, b"1\r\n\n\r\n" * 300_000 + b"0\r\n\r\n"),
    )
    yield HostileRequest("update: nested 500,000 deep", post("/v1/orders/1", JSON, b"[" * 500_000))
    yield HostileRequest(
        "update: total of a million digits",
        post("/v1/orders/1", JSON, b'{"total":"' + b"1" * 1_000_000 + b'"}'),
    )
    yield HostileRequest(
        "update: version of a million digits",
        post("/v1/orders/1", JSON, b'{"version":' + b"1" * 1_000_000 + b"}"),
    )
    yield HostileRequest(
        "update: 300,000 members",
        post("/v1/orders/1", JSON, b'{"status":"a"' + b',"version":1' * 85_000 + b"}"),
    )
    yield HostileRequest(
        "lookup: 500,000 ids",
        post("/v1/customers:lookup", JSON, b'{"ids":[1' + b",1" * 500_000 + b"]}"),
    )
    yield HostileRequest("query: 13,000 ids", head("/v1/dead?" + "id=x&" * 12_000, close))
    yield HostileRequest("query: 30,000 parameters", head("/v1/dead?" + "a&" * 30_000, close))
    yield HostileRequest("cursor of 60 kB", head("/v1/dead?cursor=" + "A" * 60_000, close))
    yield HostileRequest(
        "path of 60,000 colons", head("POST /v1/imports/" + ":" * 60_000 + "/", close)
    )
    yield HostileRequest(
        "path of 4,000 colons",
        head("POST /v1/imports/" + ":" * 4_000 + "/", close, f"Content-Type: {JSON}"),
    )
    yield HostileRequest("openapi.json", head("/openapi.json", close))
    yield HostileRequest("docs", head("/docs", close))
    yield HostileRequest("20,000 requests at once", head("/healthz") * 20_000)
    yield HostileRequest("head: a header of 20 MB", head("/healthz")[:-2] + b"A: ", endless=True)
    yield HostileRequest("head: 200,000 headers", head("/healthz")[:-2] + b"A: b\r\n" * 200_000)
    yield HostileRequest("upload: 4 MB of newlines", post("/v1/imports", CSV, b"\n" * 4_000_000))
    yield HostileRequest(
        "upload: 4 MB of quotes",
        post("/v1/imports", CSV, b"id,customer_id,total\n" + b'"' * 4_000_000),
    )
    yield HostileRequest(
        "upload: 100,000 columns", post("/v1/imports", CSV, b"a," * 1_000_000 + b"\n1")
    )
    yield HostileRequest(
        "upload: JSON nested deep", post("/v1/imports", CSV, b'{"id":' + b"[" * 2_000_000)
    )


def _long_name() -> bytes:
    return b'{"' + b"n" * 900_000 + b'":1}\n'


def send(port: int, request: HostileRequest) -> str:
    """Send it, and return the first line of the response."""
    with socket.create_connection((LOOPBACK, port), timeout=TIMEOUT) as connection:
        sender = threading.Thread(target=_send, args=(connection, request), daemon=True)
        sender.start()
        received = b""
        with suppress(OSError):
            while piece := connection.recv(1 << 16):
                received = received or piece
    return received.partition(b"\r\n")[0].decode("latin-1") or "no response"


def _send(connection: socket.socket, request: HostileRequest) -> None:
    with suppress(OSError):
        connection.sendall(request.sent)
        if request.endless:
            for _ in range(20):
                connection.sendall(b"x" * 1_000_000)
            connection.sendall(b"\r\n\r\n")


def main() -> None:
    """Print the table."""
    lines = table("request", "response", "s", "blocked ms", "of it work", right=("s",))
    with temporary_stack(SERVERS | {MIGRATIONS}) as stack:
        environment = {**stack.environment, "ORDERWORKS_HOME": str(stack.home)}
        with served("-m", "bench.gateway.probed_app", **environment) as port:
            for request in requests():
                _longest(port)
                started = time.perf_counter()
                answer = send(port, request)
                seconds = time.perf_counter() - started
                wall, cpu = _longest(port)
                row = (f"{seconds:.2f}", f"{wall:.0f}", f"{cpu:.0f}")
                lines.add_row(Text(request.name), answer[9:], *row)
                console.print(Text(f"{request.name}: {answer}, {row}"))
    console.print(lines)


def _longest(port: int) -> tuple[float, float]:
    """Return milliseconds of the clock and of the processor since the last call."""
    figures = httpx.get(f"http://{LOOPBACK}:{port}/longest-block", timeout=TIMEOUT).json()
    return figures["wall_ms"], figures["cpu_ms"]


if __name__ == "__main__":
    main()
