"""`Idempotency-Key`: a request that a client sends again is done once, and answered as the first time.

Who comes first claims the key for seconds, again and again while the work lasts; so a claim ends by
itself when its process dies. The answer takes the place of the claim, with a fingerprint of the request.
What ended without an effect is not kept: the client may do better under the same key.
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
"""Seconds after which the claim of a process that died is over."""

RESPONSE_SECONDS = 86_400
"""Seconds that an answer is kept."""

KEY = re.compile(r"[!-~]{1,255}")

CLAIM, ANSWER = b"claim:", b"answer:"
"""What the value of a key begins with."""

# Only who holds the claim may put something in its place; nothing means that the key is free again.
REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """An answer as it is kept, and the fingerprint of the request that it was given to.

    `headers` are those that its route gave it, such as `Location`; the manners are put on anew.
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
    """The answer that `work` gives, or gave before if the request has a key. What it raises is not kept.

    `body` is that of the request; `work` may leave some of it unread.

    Raises:
        Problem: the key is none, came with another request, or that one is still under way.
        redis.RedisError: nothing was done.
    """
    keys = request.headers.getlist("Idempotency-Key")
    if not keys:
        return await work()
    claim = IdempotencyClaim(
        resources.stream, names.gateway_response(caller_of(request).name, _checked(keys))
    )
    if kept := await claim.acquire():
        return await _replayed_response(kept, body)
    async with claim.kept_alive():
        response = await work()
        await claim.store(await body.fingerprint(), response)
    return response


class IdempotencyClaim:
    """The right to do what was asked under a key, as long as it is held."""

    def __init__(self, client: redis.asyncio.Redis, key: str) -> None:
        self._client, self._key = client, key
        self._mark = CLAIM + secrets.token_bytes(12)
        self._replace = client.register_script(REPLACE)

    async def acquire(self) -> StoredResponse | None:
        """Take the claim; the answer, if there is one already.

        Raises:
            Problem: somebody else holds it.
        """
        milliseconds = int(1000 * CLAIM_SECONDS)
        # The library's annotation knows nothing of `get`, which gives what stood there.
        held: Any = await self._client.set(
            self._key, self._mark, nx=True, px=milliseconds, get=True
        )
        if held is None:
            return None
        if held.startswith(CLAIM):
            raise retry_later(
                ProblemKind.IN_PROGRESS, "a request with this Idempotency-Key is under way", 1
            )
        return _decoder.decode(held.removeprefix(ANSWER))

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Hold the claim as long as the block takes; let it go if that fails."""
        holding = asyncio.create_task(self._renew())
        try:
            yield
        except Exception:
            with suppress(redis.RedisError, OSError):
                await self._put(b"", 0)
            raise
        finally:
            holding.cancel()

    async def store(self, fingerprint: bytes, response: Response) -> None:
        """Put the answer in the place of the claim. A Redis that is away now forgets the claim soon."""
        headers, body = dict(response.headers), bytes(response.body)
        kept = StoredResponse(fingerprint, response.status_code, headers, body)
        with suppress(redis.RedisError, OSError):
            await self._put(ANSWER + msgspec.msgpack.encode(kept), RESPONSE_SECONDS)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            with suppress(redis.RedisError, OSError):
                await self._put(self._mark, CLAIM_SECONDS)

    async def _put(self, value: bytes, seconds: float) -> None:
        call: Any = self._replace(keys=[self._key], args=[self._mark, value, int(1000 * seconds)])
        await call


async def _replayed_response(stored: StoredResponse, body: RequestBody) -> Response:
    if await body.fingerprint() != stored.fingerprint:
        raise Problem(ProblemKind.KEY_REUSED, "another request came under this Idempotency-Key")
    headers = stored.headers | {"Idempotency-Replayed": "true"}
    return Response(stored.body, stored.status, headers=headers)


def _checked(keys: Sequence[str]) -> str:
    """What the key is kept under."""
    key = keys[0] if len(keys) == 1 else ""
    if not KEY.fullmatch(key):
        wrong = "give 1 to 255 printable ASCII characters without spaces, once"
        errors = [FieldError("Idempotency-Key", wrong)]
        raise Problem(ProblemKind.INVALID, f"Idempotency-Key: {wrong}", errors=errors)
    return hashlib.sha256(key.encode()).hexdigest()
