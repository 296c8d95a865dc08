"""Server-sent events: the encoding of one, and a response that is a stream of them."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

import msgspec
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from orderworks_app.gateway.http.openapi import Responses, schema_of
from orderworks_app.gateway.http.problems import ProblemKind, retry_later

MEDIA_TYPE = "text/event-stream"

RETRY_SECONDS = 5.0
"""Seconds after which a client may try it again when there are too many streams."""


def encode_event(name: str, number: int, document: object) -> bytes:
    """Return one event as it is sent; its data are JSON on one line."""
    data = msgspec.json.encode(document)
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), number, data)


class StreamSlots:
    """Counts the event streams of a process. They belong to one event loop."""

    def __init__(self, most: int) -> None:
        """`most` is the number of streams that may be served at a time."""
        self._most, self._taken = most, 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Count a stream until the block ends.

        Raises:
            Problem: that number of streams is being served.
        """
        if self._taken >= self._most:
            detail = f"{self._most:,} event streams are being served (GATEWAY_MAX_STREAMS)"
            problem = retry_later(ProblemKind.UNAVAILABLE, detail, RETRY_SECONDS)
            # An open connection would take the place of another request's.
            problem.headers["Connection"] = "close"
            raise problem
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class EventStream(StreamingResponse):
    """A response that lasts until its events end, or the client disconnects or loses its permission."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        still_authorized: Callable[[], Awaitable[bool]],
        slots: StreamSlots,
    ) -> None:
        """`still_authorized` is called before each event; the stream ends once it returns False."""
        # Asks proxies not to buffer the events.
        super().__init__(self._authorized_events(), headers={"X-Accel-Buffering": "no"})
        self._events, self._still_authorized, self._slots = events, still_authorized, slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and close their generator however that ends.

        Raises:
            Problem: too many streams are being served.
        """
        with self._slots.taken():
            async with aclosing(self._events):
                await super().__call__(scope, receive, send)

    async def _authorized_events(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if not await self._still_authorized():
                return
            yield event


def event_docs(description: str, kind: object, example: bytes) -> Responses:
    """Return one of the `responses` of a route: events whose data are of this type."""
    content = {MEDIA_TYPE: {"schema": schema_of(kind), "example": example.decode()}}
    return {200: {"description": description, "content": content}}
