"""An HTTP client that repeats one request over several connections, in a process of its own.

    python -m bench.gateway.http_load URL TOKEN COUNT

prints the seconds. It parses no HTTP, but compares each response's body with the first one's: a complete
client would take longer than the server.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import repeat
from typing import cast
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

CONNECTIONS = 32

STATUS_OK = b"HTTP/1.1 200 "


class HttpLoadClient(asyncio.Protocol):
    """One connection, which sends the next request after each response.

    Attributes:
        is_done: a future, resolved after the last response.
    """

    def __init__(self, requests: Iterator[bytes], expected_body: bytes) -> None:
        self.is_done = asyncio.get_running_loop().create_future()
        self._requests, self._expected_body, self._received = requests, expected_body, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def send_next(self) -> None:
        """Send the next request; without one, resolve `is_done`."""
        request = next(self._requests, None)
        if request is None:
            self.is_done.set_result(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Add data to the response; after its end, check it and send the next request."""
        self._received += data
        body = self._received.partition(b"\r\n\r\n")[2]
        if not self._received.startswith(STATUS_OK) or len(body) > len(self._expected_body):
            self._fail()
        elif body == self._expected_body:
            self._received = b""
            self.send_next()

    def connection_lost(self, _error: Exception | None) -> None:
        """Fail unless all responses were received."""
        if not self.is_done.done():
            self._fail()

    def _fail(self) -> None:
        self.is_done.set_exception(RuntimeError(f"it responded {self._received!r}"))
        self._transport.abort()


async def run_load(host: str, port: int, requests: Iterator[bytes], expected_body: bytes) -> float:
    """Return the seconds from the first request to the last response, after connecting."""
    connect = asyncio.get_running_loop().create_connection
    clients = [
        (await connect(lambda: HttpLoadClient(requests, expected_body), host, port))[1]
        for _each in range(CONNECTIONS)
    ]
    started = time.perf_counter()
    for client in clients:
        client.send_next()
    await asyncio.gather(*[client.is_done for client in clients])
    return time.perf_counter() - started


def main() -> None:
    """Send one request for the expected body, then measure."""
    url, token, count = sys.argv[1:]
    authorization = f"Bearer {token}"
    with urlopen(Request(url, headers={"Authorization": authorization})) as first:  # noqa: S310 - the benchmark's URL
        body = first.read()
    parts = urlsplit(url)
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: {authorization}"
    requests = repeat(f"{head}\r\n\r\n".encode(), int(count))
    print(asyncio.run(run_load(str(parts.hostname), int(parts.port or 80), requests, body)))  # noqa: T201


if __name__ == "__main__":
    main()
