"""Polls that all clients of a process share: the overview, each import, and the status."""

from collections.abc import AsyncGenerator

from anyio import CapacityLimiter

from orderworks_app.gateway.backends.threads import BlockingServices
from orderworks_app.gateway.streaming.broadcast import Broadcasts
from orderworks_app.gateway.streaming.import_events import import_progress_events
from orderworks_app.gateway.streaming.overview import overview_events
from orderworks_app.gateway.streaming.polling import CachedPoll
from orderworks_app.gateway.streaming.sse import StreamSlots

MAX_IMPORT_POLLS = 1
"""Polls of imports that run at a time, for any number of imports that are followed."""

STATUS_SECONDS = 2.0
"""Seconds for which a status is reused: each one sends a request to all workers."""


class SharedStreams:
    """The shared polls of a process. They belong to one event loop.

    Attributes:
        status: returns the age in seconds and the document of `orderworks status`.
        slots: limits the event streams.
    """

    def __init__(self, blocking: BlockingServices, max_streams: int) -> None:
        self.slots = StreamSlots(max_streams)
        self.status = CachedPoll(blocking.status_reader.status, STATUS_SECONDS)
        self._blocking = blocking
        self._broadcasts = Broadcasts()
        self._import_threads = CapacityLimiter(MAX_IMPORT_POLLS)

    def overview(self) -> AsyncGenerator[bytes, None]:
        """Return the events of the overview."""
        return self._broadcasts.subscribe("overview", lambda: overview_events(self._blocking))

    def import_events(self, import_id: str) -> AsyncGenerator[bytes, None]:
        """Return the events of an import."""
        return self._broadcasts.subscribe(
            f"import {import_id}",
            lambda: import_progress_events(self._blocking.imports, import_id, self._import_threads),
        )

    def close(self) -> None:
        """End all streams: the process is stopping."""
        self._broadcasts.close()
