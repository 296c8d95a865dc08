"""A link to a server as far away as is wanted: a process of its own.

    python -m bench.gateway.slow_link URL SECONDS

prints the server's address by way of the link, whose round trip takes so long. Answers are held back
piece by piece, each from the moment it came: so a long way carries as much as a short one.
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
"""Pieces, and from when on each may go; an empty one is the end."""


def main() -> None:
    """Take connections for ever."""
    url, seconds = urlsplit(sys.argv[1]), float(sys.argv[2])
    door = socket.create_server((LOOPBACK, 0))
    secret = url.netloc.rpartition("@")[0]
    print(url._replace(netloc=f"{secret}@{LOOPBACK}:{door.getsockname()[1]}").geturl(), flush=True)  # noqa: T201
    while True:
        client, _ = door.accept()
        server = socket.create_connection((url.hostname, url.port))
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held: DelayedQueue = SimpleQueue()
        _begin(_pass_on, client, server)
        _begin(_receive, server, held, seconds)
        _begin(_forward_delayed, held, client)


def _begin(work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while said := client.recv(PIECE):
            server.sendall(said)
    _shut(server)


def _receive(server: socket.socket, held: DelayedQueue, seconds: float) -> None:
    said = b"?"
    while said:
        try:
            said = server.recv(PIECE)
        except OSError:
            said = b""
        held.put((time.monotonic() + seconds, said))


def _forward_delayed(held: DelayedQueue, client: socket.socket) -> None:
    with suppress(OSError):
        while True:
            due, said = held.get()
            if not said:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            client.sendall(said)
    _shut(client)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
