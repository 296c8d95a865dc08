"""A TCP proxy that adds latency, in a process of its own.

    python -m bench.gateway.slow_link URL SECONDS

prints the server's address through the proxy, which adds SECONDS to a round trip. Each piece of a
response is delayed from the moment at which it was received: so latency does not limit throughput.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from urllib.parse import urlsplit

from orderworks_app.embedded.ports import LOOPBACK

PIECE = 1 << 16

DelayedQueue = SimpleQueue[tuple[float, bytes]]
"""Pieces with the time at which each may be sent; an empty one is the end."""


def main() -> None:
    """Print the address, then accept connections until the process is ended."""
    url, seconds = urlsplit(sys.argv[1]), float(sys.argv[2])
    listener = socket.create_server((LOOPBACK, 0))
    user = url.netloc.rpartition("@")[0]
    port = listener.getsockname()[1]
    print(url._replace(netloc=f"{user}@{LOOPBACK}:{port}").geturl(), flush=True)  # noqa: T201
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((url.hostname, url.port))
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        delayed: DelayedQueue = SimpleQueue()
        _start_thread(_forward, client, server)
        _start_thread(_receive, server, delayed, seconds)
        _start_thread(_forward_delayed, delayed, client)


def _start_thread(work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()


def _forward(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while piece := client.recv(PIECE):
            server.sendall(piece)
    _shut_down(server)


def _receive(server: socket.socket, delayed: DelayedQueue, seconds: float) -> None:
    piece = b"?"
    while piece:
        try:
            piece = server.recv(PIECE)
        except OSError:
            piece = b""
        delayed.put((time.monotonic() + seconds, piece))


def _forward_delayed(delayed: DelayedQueue, client: socket.socket) -> None:
    with suppress(OSError):
        while True:
            due, piece = delayed.get()
            if not piece:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            client.sendall(piece)
    _shut_down(client)


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
