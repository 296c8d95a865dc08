"""The time for which a drain waits for more updates, after a batch or when its source is empty."""

import time
from collections.abc import Callable

MAX_IDLE = 1.0
"""Seconds without an update after which a drain always ends."""

POLL_INTERVAL = 0.1
"""Seconds between two checks for other work, which waits at most this long for an idle drain to end."""

GATHER_PAUSE, MAX_GATHER_PAUSE = 0.0005, 0.02
"""Seconds that a drain waits for more updates after a batch, for each update of it, and at most: after
many updates, many more are likely. A batch of any size costs about 3 ms of processor time, most of it in
the servers, and senders need that time."""


class IdlePolicy:
    """Decides how long a drain waits for updates when its source is empty.

    Without such a wait each single update would cost a Celery message, and the time that it takes. But a
    waiting drain occupies a worker process, so it ends when other work waits for one.
    """

    def __init__(self, other_work_waits: Callable[[], bool]) -> None:
        """`other_work_waits` returns whether other work waits for this worker."""
        self._other_work_waits = other_work_waits
        self._until = self._next_poll = 0.0

    def should_wait(self, batch_size: int) -> bool:
        """Return whether to wait for updates, after a batch of all `batch_size` that there were."""
        now = time.monotonic()
        if batch_size:
            self._until = now + MAX_IDLE
        if now >= self._until:
            return False
        if now >= self._next_poll:
            self._next_poll = now + POLL_INTERVAL
            return not self._other_work_waits()
        return True


def pause_after_batch(batch_size: int) -> None:
    """Sleep after a batch of several updates, so that the next batch is larger."""
    if batch_size > 1:
        time.sleep(min(batch_size * GATHER_PAUSE, MAX_GATHER_PAUSE))
