"""Files in the body of a request, passed to the producer as they are received: never stored here."""

import asyncio

import msgspec

from orderworks_app.gateway.http.problems import ProblemKind, retry_later
from orderworks_app.gateway.http.request_body import RequestBody
from producer import AsyncProducer, ImportJob
from producer.imports.options import ImportOptions

MAX_UPLOADS = 4
"""Maximum number of uploads of a process at a time. Each occupies one of the event loop's few threads,
which the producer also needs for other calls."""

BUSY_WAIT = 5.0
"""Seconds after which a client may retry when there are too many uploads."""


class Upload:
    """The body of a request, as a file for the thread that reads it.

    A piece of the body is requested only when the reader needs it; until then the server receives no
    more from the client.

    Attributes:
        name: the file's name.
        failure: the error that ended the reading early, or None.
    """

    def __init__(self, body: RequestBody, name: str) -> None:
        """Create the file in the event loop that receives the body."""
        self.name = name
        self.failure: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._pieces = aiter(body)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return some bytes, or none at the end. Must not be called in the event loop's thread.

        Raises:
            Problem, ClientDisconnect: as `RequestBody`.
        """
        if not self._rest:
            self._rest = self._next()
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def _next(self) -> bytes:
        try:
            return asyncio.run_coroutine_threadsafe(self._pull(), self._loop).result()
        except BaseException as error:
            self.failure = error
            raise

    async def _pull(self) -> bytes:
        return await anext(self._pieces, b"")


class Uploads:
    """The uploads of a process."""

    def __init__(self, producer: AsyncProducer) -> None:
        self._producer = producer
        self._running = 0

    async def accept(self, upload: Upload, options: ImportOptions) -> ImportJob:
        """Import a file while it is received. Nothing remains of an upload that is not complete.

        Raises:
            Problem: too many uploads are running, or this one is too large or too slow.
            InvalidInput, Unavailable: as `AsyncProducer.import_file`.
        """
        if self._running >= MAX_UPLOADS:
            raise retry_later(
                ProblemKind.TOO_MANY, f"{MAX_UPLOADS} uploads are running already", BUSY_WAIT
            )
        self._running += 1
        try:
            return await self._producer.import_file(upload, **msgspec.structs.asdict(options))
        except Exception:
            # The spool's client may have wrapped it in an error of its own.
            if upload.failure:
                raise upload.failure from None
            raise
        finally:
            self._running -= 1
