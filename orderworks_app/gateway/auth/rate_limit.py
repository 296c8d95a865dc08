"""Limits of the requests that a token may make in a second, over all gateway processes.

Each token has a token bucket in Redis, which holds the permits of one second and is refilled at the
token's rate. A process takes the permits of the next 20 ms at once, so that tokens with high rates do
not cost a round trip per request. While Redis is unavailable, no request is limited.
"""

import asyncio
import time
from collections import defaultdict
from typing import Any

import redis.asyncio
import structlog

from orderworks.core import keys

log = structlog.get_logger(__name__)

PERMIT_WINDOW = 0.02
"""Seconds for which a process takes permits at once."""

PERMIT_SECONDS = 0.1
"""Seconds after which a process discards permits that it has not used."""

OUTAGE_PAUSE = 1.0
"""Seconds without requests to a server that did not answer."""

# A bucket is stored as its permits and their time. All processes refill it by the server's clock.
TAKE_SCRIPT = """
local rate, capacity, requested = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local stored = redis.call('HMGET', KEYS[1], 'left', 'at')
local permits, at = tonumber(stored[1] or capacity), tonumber(stored[2] or now)
permits = math.min(capacity, permits + math.max(0, now - at) * rate)
local taken = math.min(requested, math.floor(permits))
permits = permits - taken
redis.call('HSET', KEYS[1], 'left', tostring(permits), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * capacity / rate) + 1000)
if taken > 0 then return {taken, '0'} end
return {0, string.format('%.3f', (1 - permits) / rate)}
"""


class RateLimits:
    """The limits of all tokens, as one process enforces them."""

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`timeout` is the seconds that a request waits for the server."""
        self._take = client.register_script(TAKE_SCRIPT)
        self._timeout = timeout
        self._local_permits: dict[str, tuple[int, float]] = {}
        self._acquiring: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unlimited_until = 0.0

    async def wait_before(self, name: str, rate: float) -> float:
        """Count a request of the token and return 0; or return the seconds until it is allowed."""
        if self._use_permit(name):
            return 0.0
        # One request takes permits for all that wait.
        async with self._acquiring[name]:
            return 0.0 if self._use_permit(name) else await self._acquire_permits(name, rate)

    def _use_permit(self, name: str) -> bool:
        """Spend a permit; return whether there was one, or none is needed because Redis is down."""
        now = time.monotonic()
        permits, expires = self._local_permits.get(name, (0, 0.0))
        if permits and now < expires:
            self._local_permits[name] = (permits - 1, expires)
            return True
        return now < self._unlimited_until

    async def _acquire_permits(self, name: str, rate: float) -> float:
        """Take the permits of the next moment; return the seconds to wait if the bucket is empty."""
        requested, capacity = max(1, int(rate * PERMIT_WINDOW)), max(1.0, rate)
        call = self._take(keys=[keys.gateway_rate(name)], args=[rate, capacity, requested])
        try:
            taken, wait = await asyncio.wait_for(_reply(call), self._timeout)
        except (redis.RedisError, OSError) as error:
            self._unlimited_until = time.monotonic() + OUTAGE_PAUSE
            log.warning("rate_limit_unavailable", error=str(error))
            return 0.0
        if int(taken):
            self._local_permits[name] = (int(taken) - 1, time.monotonic() + PERMIT_SECONDS)
        return float(wait)


async def _reply(call: Any) -> Any:  # noqa: ANN401 - the client annotates neither
    return await call
