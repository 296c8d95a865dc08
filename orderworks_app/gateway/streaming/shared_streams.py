"""What one look serves many for: the overview, the way of each import, and the status."""

from collections.abc import AsyncGenerator

from anyio import CapacityLimiter

from orderworks_app.gateway.backends.threads import BlockingServices
from orderworks_app.gateway.streaming.broadcast import Broadcasts
from orderworks_app.gateway.streaming.import_events import import_progress_events
from orderworks_app.gateway.streaming.overview import overview_events
from orderworks_app.gateway.streaming.polling import CachedPoll

MAX_IMPORT_POLLS = 1
"""Looks at imports under way at a time, of however many are followed."""

STATUS_SECONDS = 2.0
"""For so long a status is good: a look at it asks all workers."""


class SharedStreams:
    """The looks of a process. Belongs to one event loop.

    Attributes:
        status: what `orderworks status` says, and how many seconds ago.
    """

    def __init__(self, blocking: BlockingServices) -> None:
        self.status = CachedPoll(blocking.status_reader.status, STATUS_SECONDS)
        self._blocking = blocking
        self._broadcasts = Broadcasts()
        self._followers = CapacityLimiter(MAX_IMPORT_POLLS)

    def overview(self) -> AsyncGenerator[bytes, None]:
        """The events of how all is."""
        return self._broadcasts.subscribe("overview", lambda: overview_events(self._blocking))

    def import_events(self, import_id: str) -> AsyncGenerator[bytes, None]:
        """The events of an import."""
        return self._broadcasts.subscribe(
            f"import {import_id}",
            lambda: import_progress_events(self._blocking.imports, import_id, self._followers),
        )

    def close(self) -> None:
        """End all events: the process is about to stop."""
        self._broadcasts.close()
