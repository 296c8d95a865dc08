"""What one look serves many for: the overview, the way of each import, and the status."""

from collections.abc import AsyncGenerator

from anyio import CapacityLimiter

from orderworks_app.gateway.backends.threads import Blocking
from orderworks_app.gateway.streaming.broadcast import Feeds
from orderworks_app.gateway.streaming.import_events import follow
from orderworks_app.gateway.streaming.overview import overviews
from orderworks_app.gateway.streaming.polling import Recent

FOLLOWERS = 1
"""Looks at imports under way at a time, of however many are followed."""

STATUS_SECONDS = 2.0
"""For so long a status is good: a look at it asks all workers."""


class Shared:
    """The looks of a process. Belongs to one event loop.

    Attributes:
        status: what `orderworks status` says, and how many seconds ago.
    """

    def __init__(self, blocking: Blocking) -> None:
        self.status = Recent(blocking.examination.status, STATUS_SECONDS)
        self._blocking = blocking
        self._feeds = Feeds()
        self._followers = CapacityLimiter(FOLLOWERS)

    def overview(self) -> AsyncGenerator[bytes, None]:
        """The events of how all is."""
        return self._feeds.listen("overview", lambda: overviews(self._blocking))

    def import_events(self, import_id: str) -> AsyncGenerator[bytes, None]:
        """The events of an import."""
        return self._feeds.listen(
            f"import {import_id}",
            lambda: follow(self._blocking.imports, import_id, self._followers),
        )

    def close(self) -> None:
        """End all events: the process is about to stop."""
        self._feeds.close()
