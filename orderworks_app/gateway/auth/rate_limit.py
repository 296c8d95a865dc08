"""How many requests a token may make, counted over all gateway processes.

A token bucket in Redis: it holds what may be asked in a second, and fills up at the token's rate. A
process takes some permits at a time, for what it is asked within the next moment, so that tokens with
high rates do not cost a round trip a request. While Redis is away everybody is let through.
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
"""Seconds for which a process takes permits at once; unused ones are lost after `KEPT` seconds."""

PERMIT_SECONDS = 0.1

OUTAGE_PAUSE = 1.0
"""Seconds for which a server that did not answer is not asked again."""

# The bucket is kept as what is in it and when that was. The server's clock fills it: it is one for all.
TAKE_SCRIPT = """
local rate, most, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local known = redis.call('HMGET', KEYS[1], 'left', 'at')
local left, at = tonumber(known[1] or most), tonumber(known[2] or now)
left = math.min(most, left + math.max(0, now - at) * rate)
local given = math.min(wanted, math.floor(left))
left = left - given
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * most / rate) + 1000)
if given > 0 then return {given, '0'} end
return {0, string.format('%.3f', (1 - left) / rate)}
"""


class RateLimits:
    """The limits of all tokens, as one process keeps to them."""

    def __init__(self, client: redis.asyncio.Redis, timeout: float) -> None:
        """`patience` is the seconds that a request waits for the server."""
        self._take = client.register_script(TAKE_SCRIPT)
        self._timeout = timeout
        self._local_permits: dict[str, tuple[int, float]] = {}
        self._acquiring: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._quiet_until = 0.0

    async def wait_before(self, name: str, rate: float) -> float:
        """Seconds that the token has to wait before it may ask; 0 if it may now, which is counted."""
        if self._use_permit(name):
            return 0.0
        # One draws for all who wait.
        async with self._acquiring[name]:
            return 0.0 if self._use_permit(name) else await self._acquire_permits(name, rate)

    def _use_permit(self, name: str) -> bool:
        """Whether there is a permit, which is spent, or nobody to ask for one."""
        now = time.monotonic()
        left, until = self._local_permits.get(name, (0, 0.0))
        if left and now < until:
            self._local_permits[name] = (left - 1, until)
            return True
        return now < self._quiet_until

    async def _acquire_permits(self, name: str, rate: float) -> float:
        """Take permits for a moment; how long to wait if there is none."""
        wanted, most = max(1, int(rate * PERMIT_WINDOW)), max(1.0, rate)
        call = self._take(keys=[keys.gateway_rate(name)], args=[rate, most, wanted])
        try:
            given, wait = await asyncio.wait_for(_answer(call), self._timeout)
        except (redis.RedisError, OSError) as error:
            self._quiet_until = time.monotonic() + OUTAGE_PAUSE
            log.warning("rate_not_limited", error=str(error))
            return 0.0
        if int(given):
            self._local_permits[name] = (int(given) - 1, time.monotonic() + PERMIT_SECONDS)
        return float(wait)


async def _answer(call: Any) -> Any:  # noqa: ANN401 - the client says neither
    return await call
