"""`Idempotency-Key`: a repeated request is done once and gets the first response again.

The first request claims the key for seconds, and renews the claim while the work lasts; so the claim of
a process that fails expires. The response replaces the claim, with a fingerprint of the request. A
request without an effect stores no response: the client may correct it and use the key again.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import redis.asyncio
from fastapi import Request
from fastapi.responses import Response

from orderworks.core import keys as names
from orderworks_app.gateway.dependencies.authorize import caller_of
from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind, retry_later
from orderworks_app.gateway.http.request_body import RequestBody
from orderworks_app.gateway.resources import GatewayResources

CLAIM_SECONDS = 10.0
"""Seconds of a claim's lease: it expires after them unless it is renewed."""

RESPONSE_SECONDS = 86_400
"""Seconds that a response is stored."""

KEY = re.compile(r"[!-~]{1,255}")

CLAIM, ANSWER = b"claim:", b"answer:"
"""Prefixes of a key's value: a claim, or a response."""

# Only the holder of the claim may replace it; an empty value deletes the key.
REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """A response, and the fingerprint of its request.

    `headers` are those of the route, such as `Location`; the middleware adds its own each time.
    """

    fingerprint: bytes
    status: int
    headers: dict[str, str]
    body: bytes


_decoder = msgspec.msgpack.Decoder(StoredResponse)


async def run_once(
    request: Request,
    resources: GatewayResources,
    body: RequestBody,
    work: Callable[[], Awaitable[Response]],
) -> Response:
    """Return the response of `work`, or the stored one if the request's key was used before.

    What `work` raises is not stored. `body` is that of the request; `work` may leave some of it unread.

    Raises:
        Problem: the key is not valid, was used for another request, or its request is in progress.
        redis.RedisError: the key could not be claimed; nothing was done.
    """
    keys = request.headers.getlist("Idempotency-Key")
    if not keys:
        return await work()
    claim = IdempotencyClaim(
        resources.stream, names.gateway_response(caller_of(request).name, _checked(keys))
    )
    if stored := await claim.acquire():
        return await _replayed_response(stored, body)
    async with claim.kept_alive():
        response = await work()
        await claim.store(await body.fingerprint(), response)
    return response


class IdempotencyClaim:
    """A claim on a key, which excludes other requests under it until it is released or expires."""

    def __init__(self, client: redis.asyncio.Redis, key: str) -> None:
        self._client, self._key = client, key
        self._claim = CLAIM + secrets.token_bytes(12)
        self._replace = client.register_script(REPLACE)

    async def acquire(self) -> StoredResponse | None:
        """Claim the key, and return None; or return the response that is stored under it.

        Raises:
            Problem: another request has claimed it.
        """
        milliseconds = int(1000 * CLAIM_SECONDS)
        # The library's annotation omits `get`, which returns the previous value.
        value: Any = await self._client.set(
            self._key, self._claim, nx=True, px=milliseconds, get=True
        )
        if value is None:
            return None
        if value.startswith(CLAIM):
            raise retry_later(
                ProblemKind.IN_PROGRESS, "a request with this Idempotency-Key is in progress", 1
            )
        return _decoder.decode(value.removeprefix(ANSWER))

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Renew the claim until the block ends; release it if the block fails."""
        renewal = asyncio.create_task(self._renew())
        try:
            yield
        except Exception:
            with suppress(redis.RedisError, OSError):
                await self._put(b"", 0)
            raise
        finally:
            renewal.cancel()

    async def store(self, fingerprint: bytes, response: Response) -> None:
        """Replace the claim by the response. If Redis is unavailable, the claim expires soon."""
        headers, body = dict(response.headers), bytes(response.body)
        stored = StoredResponse(fingerprint, response.status_code, headers, body)
        with suppress(redis.RedisError, OSError):
            await self._put(ANSWER + msgspec.msgpack.encode(stored), RESPONSE_SECONDS)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            with suppress(redis.RedisError, OSError):
                await self._put(self._claim, CLAIM_SECONDS)

    async def _put(self, value: bytes, seconds: float) -> None:
        call: Any = self._replace(keys=[self._key], args=[self._claim, value, int(1000 * seconds)])
        await call


async def _replayed_response(stored: StoredResponse, body: RequestBody) -> Response:
    if await body.fingerprint() != stored.fingerprint:
        raise Problem(
            ProblemKind.KEY_REUSED, "this Idempotency-Key was used for a different request"
        )
    headers = stored.headers | {"Idempotency-Replayed": "true"}
    return Response(stored.body, stored.status, headers=headers)


def _checked(keys: Sequence[str]) -> str:
    """Return the hash under which the key is stored.

    Raises:
        Problem: there is not exactly one key, or it is not valid.
    """
    key = keys[0] if len(keys) == 1 else ""
    if not KEY.fullmatch(key):
        detail = "give 1 to 255 printable ASCII characters without spaces, once"
        errors = [FieldError("Idempotency-Key", detail)]
        raise Problem(ProblemKind.INVALID, f"Idempotency-Key: {detail}", errors=errors)
    return hashlib.sha256(key.encode()).hexdigest()
