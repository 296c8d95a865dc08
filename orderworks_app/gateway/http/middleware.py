"""What is the same for every request: who may ask at all, how much, and what the answer carries.

Pure ASGI, around the whole application: it sees each byte that comes in and goes out.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Collection, Mapping
from typing import cast

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderworks.core import logging
from orderworks.core.settings import Settings
from orderworks_app.gateway.http.problems import Problem, ProblemKind, problem_of

log = structlog.get_logger(__name__)

access_log = logging.FastLogger(__name__)

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

CONTENT_TYPES = frozenset(
    {"application/json", "application/x-ndjson", "application/octet-stream", "text/csv"}
)
"""What a write may bring. No page of another host can send one of these without asking first, so none
can use a gateway that its reader's browser reaches."""

BODY_TIMEOUT = 30.0
"""Seconds to wait for the next piece of a body."""

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
"""A request id that is taken over from the client."""

Headers = Mapping[bytes, bytes]
"""What a request brings, by lower-case name."""

CLIENT_CLOSED = 499
"""Logged where the client went away before there was an answer."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", POLICY),
    (b"cache-control", b"no-store"),
)
"""What every answer carries unless its route says otherwise."""


class GatewayMiddleware:
    """The application with manners."""

    def __init__(self, app: ASGIApp, settings: Settings, streamed: Collection[str]) -> None:
        """Bodies for the paths in `streamed` are not bounded here: their routes do it."""
        self._app = app
        self._hosts = frozenset(settings.gateway_hosts)
        self._max_bytes = settings.gateway_max_body
        self._streamed = frozenset(streamed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens on the way."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange(scope, send, _request_id(headers))
        try:
            await self._app(scope, self._checked_receive(scope, headers, receive), exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or CLIENT_CLOSED
        except Exception as error:  # noqa: BLE001 - whatever it is becomes an answer
            await exchange.fail(error, receive)
        finally:
            exchange.log_access()

    def _checked_receive(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Where the application gets the body from, if it may have it.

        Raises:
            Problem: it may not.
        """
        _check_host(headers.get(b"host", b""), self._hosts)
        if scope["method"] not in WRITES:
            return receive
        _check_type(headers.get(b"content-type", b""))
        receive = _in_time(receive)
        if scope["path"] in self._streamed:
            return receive
        return _bounded(receive, self._max_bytes, headers.get(b"content-length", b""))


class Exchange:
    """One request and its answer.

    Attributes:
        status: the answer's; 0 until it begins.
    """

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.status = 0
        self._scope, self._send, self._id = scope, send, request_id
        self._began = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id)

    async def send(self, message: Message) -> None:
        """Pass on what the application says, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            said = {name for name, _ in headers}
            ours = [each for each in HEADERS if each[0] not in said]
            message["headers"] = [*headers, (b"x-request-id", self._id.encode()), *ours]
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        """Answer with the problem, unless the answer has begun: then it ends where it is."""
        problem = problem_of(error)
        if problem.kind.status >= ProblemKind.INTERNAL.status:
            unknown = problem.kind is ProblemKind.INTERNAL
            log.error("request_failed", error=str(error), exc_info=error if unknown else None)
        if self.status:
            raise error
        await problem.response()(self._scope, receive, self.send)

    def log_access(self) -> None:
        """Write the line of the access log."""
        milliseconds = round((time.perf_counter() - self._began) * 1000, 1)
        asked = {"method": self._scope["method"], "path": self._scope["path"]}
        access_log.info("request", **asked, status=self.status, ms=milliseconds)


def _request_id(headers: Headers) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _check_host(host: bytes, allowed_hosts: Collection[str]) -> None:
    """Refuse names that are not ours: a page elsewhere may have its name point to this machine."""
    name = re.sub(r":[0-9]*$", "", host.decode("latin-1")).lower()
    if name not in allowed_hosts:
        raise Problem(
            ProblemKind.WRONG_HOST,
            f"this gateway does not answer to the name {name!r} (GATEWAY_HOSTS)",
        )


def _check_type(content_type: bytes) -> None:
    name = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if name not in CONTENT_TYPES:
        wanted = ", ".join(sorted(CONTENT_TYPES))
        raise Problem(ProblemKind.WRONG_TYPE, f"give the Content-Type of the body, one of {wanted}")


def _in_time(receive: Receive) -> Receive:
    """The body, if something of it comes every now and then. What comes after it may take its time."""
    is_whole = False

    async def in_time() -> Message:
        nonlocal is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                message = await receive()
        except TimeoutError:
            slow = f"nothing of the body came for {BODY_TIMEOUT:g} s"
            raise Problem(ProblemKind.TOO_SLOW, slow, headers={"Connection": "close"}) from None
        is_whole = not message.get("more_body", False)
        return message

    return in_time


def _bounded(receive: Receive, max_bytes: int, length: bytes) -> Receive:
    """The body, until it is larger than it may be; it is not read if it says so at once."""
    if length.isdigit() and int(length) > max_bytes:
        raise too_large(max_bytes)
    left = max_bytes

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(cast("bytes", message.get("body", b"")))
        if left < 0:
            raise too_large(max_bytes)
        return message

    return bounded


def too_large(max_bytes: int) -> Problem:
    """The problem of a body with more bytes than it may have. The rest of it is not read."""
    return Problem(
        ProblemKind.TOO_LARGE,
        f"the body is larger than {max_bytes:,} bytes",
        headers={"Connection": "close"},
    )
