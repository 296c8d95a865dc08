"""How long a drain stays when nothing waits any more.

Without it each update that comes alone would cost a Celery message, and the time that one takes. Yet a
drain holds a worker process while it stays, so it leaves when other work waits for one.
"""

import time
from collections.abc import Callable

LINGER = 1.0
"""Seconds without an update after which a drain leaves in any case."""

GLANCE = 0.1
"""Seconds between two looks whether other work waits: the longest wait for a lingering drain."""

GATHER_EACH, GATHER_MOST = 0.0005, 0.02
"""Seconds that a drain lets updates gather for each one that it took, and at the most: where many came,
many come. A batch costs about 3 ms of the processors whatever its size, most of them the servers', and
they are missed by who sends."""


class Linger:
    """What one drain decides by."""

    def __init__(self, needed_elsewhere: Callable[[], bool]) -> None:
        """`needed_elsewhere` tells whether other work waits for this worker."""
        self._needed_elsewhere = needed_elsewhere
        self._until = self._next_glance = 0.0

    def stays(self, taken: int) -> bool:
        """Whether to wait for more, after a batch that took all there was, if only nothing."""
        now = time.monotonic()
        if taken:
            self._until = now + LINGER
        if now >= self._until:
            return False
        if now >= self._next_glance:
            self._next_glance = now + GLANCE
            return not self._needed_elsewhere()
        return True


def gather(taken: int) -> None:
    """Wait a moment after a batch of several updates, so that the next one has more of them."""
    if taken > 1:
        time.sleep(min(taken * GATHER_EACH, GATHER_MOST))
