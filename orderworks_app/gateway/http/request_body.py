"""The body of a request, read once, piece by piece, up to a limit of bytes."""

import hashlib
from collections.abc import AsyncIterator

from fastapi import Request

from orderworks_app.gateway.http.middleware import too_large


class RequestBody:
    """A body; and a fingerprint of the request, if it has an `Idempotency-Key`."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        """`max_bytes` is the limit of its size.

        Raises:
            Problem: the Content-Length exceeds the limit.
        """
        self._pieces = request.stream()
        self._max_bytes = self._remaining = max_bytes
        length = request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > max_bytes:
            raise too_large(max_bytes)
        target = f"{request.method} {request.url.path}?{request.url.query}\n"
        has_key = "Idempotency-Key" in request.headers
        self._hash = hashlib.sha256(target.encode()) if has_key else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the rest of the body that was not read yet.

        Raises:
            Problem: it exceeds the limit, or the client sends too slowly.
            ClientDisconnect: the client closed the connection.
        """
        async for piece in self._pieces:
            self._remaining -= len(piece)
            if self._remaining < 0:
                raise too_large(self._max_bytes)
            if self._hash:
                self._hash.update(piece)
            yield piece

    async def read_all(self) -> bytes:
        """Return the rest of the body that was not read yet."""
        return b"".join([piece async for piece in self])

    async def fingerprint(self) -> bytes:
        """Return the hash of method, path, query and body, by which a repeated request is recognized."""
        async for _piece in self:
            pass
        return self._hash.digest() if self._hash else b""
