"""Files that come as the body of a request, handed on as they come: never on disk or in memory here."""

import asyncio

import msgspec

from orderworks_app.gateway.http.problems import ProblemKind, retry_later
from orderworks_app.gateway.http.request_body import RequestBody
from producer import AsyncProducer, ImportJob
from producer.imports.options import ImportOptions

MAX_UPLOADS = 4
"""Uploads that a process takes at a time. Each has a thread of the event loop's own few, which have to
suffice for everything else that the producer does in one."""

BUSY_WAIT = 5.0
"""Seconds after which to come again when there are too many."""


class Upload:
    """The body of a request, as a file for the thread that reads it.

    The next piece of the body is asked for when it is needed, and only then does the server take more
    from the client.

    Attributes:
        name: what the file is called.
        failure: why it could not be read to its end, if so.
    """

    def __init__(self, body: RequestBody, name: str) -> None:
        """For the event loop that calls it."""
        self.name = name
        self.failure: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._pieces = aiter(body)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end. Not in the event loop's thread.

        Raises:
            Problem, ClientDisconnect: as `Body`.
        """
        if not self._rest:
            self._rest = self._next()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

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
        self._under_way = 0

    async def accept(self, upload: Upload, options: ImportOptions) -> ImportJob:
        """Import a file while it comes. Of one that does not come whole nothing is left.

        Raises:
            Problem: there are too many uploads just now, or this one is too large, or too slow.
            InvalidInput, Unavailable: as `AsyncProducer.import_file`.
        """
        if self._under_way >= MAX_UPLOADS:
            raise retry_later(
                ProblemKind.TOO_MANY, f"{MAX_UPLOADS} uploads are under way already", BUSY_WAIT
            )
        self._under_way += 1
        try:
            return await self._producer.import_file(upload, **msgspec.structs.asdict(options))
        except Exception:
            # The spool's client may have made another error of it.
            if upload.failure:
                raise upload.failure from None
            raise
        finally:
            self._under_way -= 1
