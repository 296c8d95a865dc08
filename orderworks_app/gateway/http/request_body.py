"""The body of a request, read once, piece by piece, within bounds."""

import hashlib
from collections.abc import AsyncIterator

from fastapi import Request

from orderworks_app.gateway.http.middleware import too_large


class RequestBody:
    """A body, and a fingerprint of the request as a whole if that is asked for."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        """`most` is the number of bytes that it may have.

        Raises:
            Problem: it says itself that it has more.
        """
        self._pieces = request.stream()
        self._most = self._left = max_bytes
        length = request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > max_bytes:
            raise too_large(max_bytes)
        asked = f"{request.method} {request.url.path}?{request.url.query}\n"
        is_kept = "Idempotency-Key" in request.headers
        self._hash = hashlib.sha256(asked.encode()) if is_kept else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What was not read yet.

        Raises:
            Problem: it is larger than it may be, or comes too slowly.
            ClientDisconnect: the client went away.
        """
        async for piece in self._pieces:
            self._left -= len(piece)
            if self._left < 0:
                raise too_large(self._most)
            if self._hash:
                self._hash.update(piece)
            yield piece

    async def read_all(self) -> bytes:
        """All of it that was not read yet."""
        return b"".join([piece async for piece in self])

    async def fingerprint(self) -> bytes:
        """By which the same request is known again: method, path, query and body."""
        async for _piece in self:
            pass
        return self._hash.digest() if self._hash else b""
