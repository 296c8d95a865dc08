"""A TCP link between clients and a server, which a test can break at the exact place."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from orderworks_app.embedded.ports import LOOPBACK


class TcpProxy:
    """Forwards the data of clients and server.

    Attributes:
        lost: the number of answers that were lost so far.
        refused: the number of connections that were closed before any data.
    """

    def __init__(self, url: str, listener: socket.socket) -> None:
        self.lost = self.refused = 0
        self._url = urlsplit(url)
        self._listener = listener
        self._to_lose = self._to_refuse = 0
        self._speaks = threading.Event()
        self._speaks.set()

    @property
    def url(self) -> str:
        """The server's address, through this link."""
        secret = self._url.netloc.rpartition("@")[0]
        place = f"{LOOPBACK}:{self._listener.getsockname()[1]}"
        return urlunsplit(self._url._replace(netloc=f"{secret}@{place}" if secret else place))

    def lose_answers(self, count: int = 1) -> None:
        """Lose the next answers, and close the connection of each; the server did its part."""
        self._to_lose = count

    def refuse_connections(self, count: int = 1) -> None:
        """Close the next connections before the server sees them."""
        self._to_refuse = count

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Delay all answers of the server until the block ends; no connection is closed."""
        self._speaks.clear()
        try:
            yield
        finally:
            self._speaks.set()

    def serve(self) -> None:
        """Accept connections until the listening socket is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._to_refuse:
                    self._to_refuse -= 1
                    self.refused += 1
                    client.close()
                    continue
                server = socket.create_connection((self._url.hostname, self._url.port))
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:  # noqa: FBT001
        with suppress(OSError):
            while said := source.recv(1 << 16):
                if answers and self._to_lose:
                    self._to_lose -= 1
                    self.lost += 1
                    break
                if answers:
                    self._speaks.wait()
                target.sendall(said)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def link_to(url: str) -> Iterator[TcpProxy]:
    """A link to the server of this address, sound at first."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        link = TcpProxy(url, listener)
        thread = threading.Thread(target=link.serve, daemon=True)
        thread.start()
        yield link
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
