"""Which beat leads: the one that holds a key in the broker, for some seconds at a time."""

import structlog
from redis.exceptions import LockError

from orderworks.core.redis import Redis

log = structlog.get_logger()


class LeaderLock:
    """The lead of one process. All calls may raise `RedisError`; then it is as it was, or runs out."""

    def __init__(self, client: Redis, key: str, seconds: float) -> None:
        """`seconds` until another one may take it from a leader that says nothing more."""
        self._lock = client.lock(key, timeout=seconds)
        self._held = False

    def renew(self) -> bool:
        """Whether this process leads and goes on to."""
        if self._held:
            try:
                self._lock.reacquire()
            except LockError:
                # Frozen, or cut off for too long; or the broker was emptied.
                self._held = False
                log.warning("beat_lost_the_lead")
        return self._held

    def acquire(self) -> bool:
        """Whether this process leads from now on; it does if nobody else does."""
        self._held = self._lock.acquire(blocking=False)
        if self._held:
            log.info("beat_leads")
        return self._held

    def release(self) -> None:
        """Let another one lead at once."""
        if self._held:
            self._held = False
            if self._lock.owned():
                self._lock.release()
