"""uvicorn's HTTP protocol, with limits of what a connection may send before a request is served.

uvicorn and httptools take a head of any size, for any time, and trailers like headers; a read may have
thousands of requests. Here a connection is read in small pieces, so that other ones are read in between,
and one that exceeds a limit gets a problem and is closed.
"""

import asyncio
import threading
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from orderworks_app.gateway.http.descriptors import max_connections
from orderworks_app.gateway.http.problems import Problem, ProblemKind, retry_later

READ_BYTES = 64 << 10
"""Bytes that are read from a connection at once."""

MAX_HEAD_BYTES = 64 << 10
"""Bytes of a head; also those that may surround the body: sizes and extensions of chunks, trailers."""

MAX_HEAD_LINES = 100
"""Headers and trailers of a request."""

HEAD_TIMEOUT = 10.0
"""Seconds from the begin of a connection, or of a head, until the head is complete."""

MAX_PIPELINED = 16
"""Requests that may wait on a connection for the responses of earlier ones."""

FRAMING = 9
"""Bytes that are allowed for each byte of a chunked body: that of chunks of one byte, and some more."""

CLOSE_DELAY = 2.0
"""Seconds in which input is dropped after a problem: closed at once, the client might not receive it."""

_MALFORMED = Problem(ProblemKind.MALFORMED, "the request is not valid HTTP")

_HEAD_TOO_LARGE = Problem(
    ProblemKind.HEAD_TOO_LARGE,
    f"the head of the request is larger than {MAX_HEAD_BYTES:,} bytes or has more than "
    f"{MAX_HEAD_LINES} headers, or its chunks have more than that around their data",
)

_HEAD_TOO_SLOW = Problem(
    ProblemKind.TOO_SLOW, f"the head of the request was not complete within {HEAD_TIMEOUT:g} s"
)

_PIPELINED = Problem(
    ProblemKind.TOO_MANY, f"more than {MAX_PIPELINED} requests wait on this connection"
)


_TOO_MANY_CONNECTIONS = retry_later(
    ProblemKind.UNAVAILABLE, "this gateway process has no room for more connections", 5
)


class RefusedRequest(Exception):
    """Ends the parsing of a request, by way of httptools."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class LimitedHttp(HttpToolsProtocol):
    """The parser's side of a connection: it counts, and refuses."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **options)
        self._in_head = self._is_refused = False
        self._head_bytes = self._head_lines = self._body_bytes = 0
        self._spare = MAX_HEAD_BYTES
        self._refusal = _MALFORMED
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            transport.write(_encode(_TOO_MANY_CONNECTIONS))
            transport.close()
            return
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        super().connection_lost(exc)
        self._clear_deadline()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and check what they have in addition to a body."""
        if self._is_refused:
            return
        body_bytes = self._body_bytes
        super().data_received(data)
        allowed = FRAMING * (self._body_bytes - body_bytes)
        self._spare = min(MAX_HEAD_BYTES, self._spare + allowed - len(data))
        if self._spare < 0 and not self._is_refused:
            self._refuse(_HEAD_TOO_LARGE)
        self._set_deadline()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._head_lines = 0
        self._spare = MAX_HEAD_BYTES
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(_PIPELINED)

    def on_url(self, url: bytes) -> None:
        """Count a piece of the target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. A trailer is dropped: checks of headers are over when it is received."""
        if self._in_head:
            super().on_header(name, value)
        self._head_lines += 1
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._in_head = False
        self._clear_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count and pass on a piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that could not be parsed."""
        del msg
        self._refuse(self._refusal)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or self._head_lines > MAX_HEAD_LINES:
            self._stop(_HEAD_TOO_LARGE)

    def _stop(self, problem: Problem) -> None:
        """End the parsing; uvicorn then calls `send_400_response`."""
        self._refusal = problem
        raise RefusedRequest(problem)

    def _refuse(self, problem: Problem) -> None:
        """Send the problem, drop what the client still sends, and close the connection."""
        self._is_refused = True
        self._clear_deadline()
        if not self._can_respond():
            self.transport.close()
            return
        self.transport.write(_encode(problem))
        self.transport.write_eof()
        self._deadline = self.loop.call_later(CLOSE_DELAY, self.transport.close)

    def _can_respond(self) -> bool:
        """Return whether the next response on the connection is that of the current request."""
        if not self._is_serving():
            return True
        return not self.pipeline and self.cycle.more_body and not self.cycle.response_started

    def _is_serving(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _set_deadline(self) -> None:
        """Start the time of a head, unless a request is being served."""
        if self._deadline is not None or self._is_refused:
            return
        if self._in_head or not self._is_serving():
            self._deadline = self.loop.call_later(HEAD_TIMEOUT, self._time_out)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        """Refuse an incomplete head; close a connection without one."""
        if self._in_head:
            self._refuse(_HEAD_TOO_SLOW)
        else:
            self.transport.close()


class HttpConnection(asyncio.BufferedProtocol):
    """The event loop's side of a connection: it decides how much is read at once.

    After a full read, other connections have their turn: libuv would read up to 32 times.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Create the protocol of a connection; uvicorn calls this."""
        self._http = LimitedHttp(config, server_state, app_state, _loop)
        self._loop = self._http.loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport
        self._http.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return memory for the next read."""
        del sizehint
        return _buffer.memory

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        self._http.data_received(bytes(_buffer.memory[:nbytes]))
        if nbytes == READ_BYTES and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def eof_received(self) -> None:
        """Pass on the end of the input."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """Pass on that the client does not read."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._http.connection_lost(exc)

    def _read_on(self) -> None:
        """Continue to read, unless the application has enough of the body."""
        if not self._http.flow.read_paused and not self._transport.is_closing():
            self._transport.resume_reading()


class _ReadBuffer(threading.local):
    """Memory of a thread's event loop. A read is passed on before the next one begins."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(READ_BYTES))


_buffer = _ReadBuffer()


def _encode(problem: Problem) -> bytes:
    """Return the problem as a whole response after which the connection is closed."""
    response = problem.response()
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [b"%s: %s\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", response.body])
