"""Server-sent events: how one is written, and the answer that is a stream of them."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import msgspec
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from orderworks_app.gateway.http.openapi import Responses, schema_of

MEDIA_TYPE = "text/event-stream"


def encode_event(name: str, number: int, document: object) -> bytes:
    """One event as it is sent: JSON on one line, as msgspec writes it."""
    data = msgspec.json.encode(document)
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), number, data)


class EventStream(StreamingResponse):
    """An answer that goes on until its events end, or who asked may not or does not read them."""

    media_type = MEDIA_TYPE

    def __init__(
        self, events: AsyncGenerator[bytes, None], still_authorized: Callable[[], Awaitable[bool]]
    ) -> None:
        """`welcome` is asked before each event whether who asked may still read it."""
        # Proxies that buffer would keep events for themselves.
        super().__init__(self._authorized_events(), headers={"X-Accel-Buffering": "no"})
        self._events, self._still_authorized = events, still_authorized

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; whatever ends that, their generator ends with it."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)

    async def _authorized_events(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if not await self._still_authorized():
                return
            yield event


def event_docs(description: str, kind: object, example: bytes) -> Responses:
    """One of the `responses` of a route: events whose data are of this kind."""
    content = {MEDIA_TYPE: {"schema": schema_of(kind), "example": example.decode()}}
    return {200: {"description": description, "content": content}}
