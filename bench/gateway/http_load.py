"""Asks the same thing over HTTP again and again, over some connections at once. A process of its own.

    python -m bench.gateway.http_load URL TOKEN COUNT

prints the seconds that it took. It knows no more of HTTP than that the same question has the same
answer, which it expects each time: a whole client would take longer than the server.
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

GOOD = b"HTTP/1.1 200 "


class HttpLoadClient(asyncio.Protocol):
    """One connection. It asks again when it has the answer, until there are no more questions.

    Attributes:
        is_done: when it has its last answer.
    """

    def __init__(self, questions: Iterator[bytes], answer: bytes) -> None:
        self.is_done = asyncio.get_running_loop().create_future()
        self._questions, self._answer, self._heard = questions, answer, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self) -> None:
        """Ask the next question, if there is one."""
        question = next(self._questions, None)
        if question is None:
            self.is_done.set_result(None)
        else:
            self._transport.write(question)

    def data_received(self, data: bytes) -> None:
        """Something of the answer came."""
        self._heard += data
        body = self._heard.partition(b"\r\n\r\n")[2]
        if not self._heard.startswith(GOOD) or len(body) > len(self._answer):
            self._fail()
        elif body == self._answer:
            self._heard = b""
            self.ask()

    def connection_lost(self, _error: Exception | None) -> None:
        """The server went away, or all is done."""
        if not self.is_done.done():
            self._fail()

    def _fail(self) -> None:
        self.is_done.set_exception(RuntimeError(f"it answered {self._heard!r}"))
        self._transport.abort()


async def run_load(host: str, port: int, questions: Iterator[bytes], answer: bytes) -> float:
    """Seconds from the first question to the last answer; all are connected before."""
    connect = asyncio.get_running_loop().create_connection
    made = [
        await connect(lambda: HttpLoadClient(questions, answer), host, port)
        for _each in range(CONNECTIONS)
    ]
    started = time.perf_counter()
    for _, asker in made:
        asker.ask()
    await asyncio.gather(*[asker.is_done for _, asker in made])
    return time.perf_counter() - started


def main() -> None:
    """Learn the answer, then ask."""
    url, token, count = sys.argv[1:]
    authorization = f"Bearer {token}"
    with urlopen(Request(url, headers={"Authorization": authorization})) as first:  # noqa: S310 - ours
        answer = first.read()
    place = urlsplit(url)
    head = f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {authorization}"
    questions = repeat(f"{head}\r\n\r\n".encode(), int(count))
    print(asyncio.run(run_load(str(place.hostname), int(place.port or 80), questions, answer)))  # noqa: T201


if __name__ == "__main__":
    main()
