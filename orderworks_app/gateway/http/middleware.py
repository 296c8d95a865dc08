"""ASGI middleware for every request: host, content type and size; headers, problems and the access log.

It is pure ASGI around the whole application, so it handles every byte of requests and responses.
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
from orderworks_app.gateway.http.problems import Problem, ProblemKind, not_found, problem_of

log = structlog.get_logger(__name__)

access_log = logging.FastLogger(__name__)

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

CONTENT_TYPES = frozenset(
    {"application/json", "application/x-ndjson", "application/octet-stream", "text/csv"}
)
"""Types of bodies that are accepted. A page of another host cannot send one of these without a
preflight request, so no such page can use a gateway that its reader's browser reaches."""

MAX_PATH, MAX_PARAMETERS = 1024, 1024
"""Characters of a path, and parameters of a query; the longest valid ones are shorter."""

BODY_TIMEOUT = 30.0
"""Seconds to wait for the next piece of a body."""

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
"""A client's request id that is used; others are replaced."""

Headers = Mapping[bytes, bytes]
"""The headers of a request, by lower-case name."""

CLIENT_CLOSED = 499
"""The logged status of a request whose client disconnected before the response."""

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
"""Headers of every response whose route does not set them."""


class GatewayMiddleware:
    """The application, wrapped in checks of requests and in what all responses have."""

    def __init__(self, app: ASGIApp, settings: Settings, streamed: Collection[str]) -> None:
        """The routes of the paths in `streamed` limit their bodies; all others are limited here."""
        self._app = app
        self._hosts = frozenset(settings.gateway_hosts)
        self._max_bytes = settings.gateway_max_body
        self._streamed = frozenset(streamed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error becomes a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange(scope, send, _request_id(headers))
        try:
            await self._app(scope, self._checked_receive(scope, headers, receive), exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or CLIENT_CLOSED
        except Exception as error:  # noqa: BLE001 - any error becomes a response
            await exchange.fail(error, receive)
        finally:
            exchange.log_access()

    def _checked_receive(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Check the headers, and return a `receive` with a timeout and a limit of bytes.

        Raises:
            Problem: the target, the host or the content type is not accepted, or the body is too large.
        """
        _check_target(scope)
        _check_host(headers.get(b"host", b""), self._hosts)
        if scope["method"] not in WRITES:
            return receive
        _check_type(headers.get(b"content-type", b""))
        receive = _with_timeout(receive)
        if scope["path"] in self._streamed:
            return receive
        return _bounded(receive, self._max_bytes, headers.get(b"content-length", b""))


class Exchange:
    """One request and its response.

    Attributes:
        status: the status of the response; 0 before it begins.
    """

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.status = 0
        self._scope, self._send, self._id = scope, send, request_id
        self._started = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id)

    async def send(self, message: Message) -> None:
        """Pass a message of the application on, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            present = {name for name, _ in headers}
            added = [each for each in HEADERS if each[0] not in present]
            message["headers"] = [*headers, (b"x-request-id", self._id.encode()), *added]
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        """Send the problem. If the response has begun, raise the error: the server then cuts it off."""
        problem = problem_of(error)
        if problem.kind.status >= ProblemKind.INTERNAL.status:
            unexpected = problem.kind is ProblemKind.INTERNAL
            log.error("request_failed", error=str(error), exc_info=error if unexpected else None)
        if self.status:
            raise error
        await problem.response()(self._scope, receive, self.send)

    def log_access(self) -> None:
        """Write the line of the access log."""
        milliseconds = round((time.perf_counter() - self._started) * 1000, 1)
        target = {"method": self._scope["method"], "path": self._scope["path"]}
        access_log.info("request", **target, status=self.status, ms=milliseconds)


def _request_id(headers: Headers) -> str:
    value = headers.get(b"x-request-id", b"")
    return value.decode() if REQUEST_ID.fullmatch(value) else secrets.token_hex(16)


def _check_target(scope: Scope) -> None:
    """Refuse long targets: the time to match a path with the routes may grow with its square."""
    if len(scope["path"]) > MAX_PATH:
        raise not_found(f"there is no path of more than {MAX_PATH:,} characters")
    if scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise Problem(ProblemKind.INVALID, f"the query has more than {MAX_PARAMETERS:,} parameters")


def _check_host(host: bytes, allowed_hosts: Collection[str]) -> None:
    """Refuse unknown names: another site could make its own name resolve to this machine."""
    name = re.sub(r":[0-9]*$", "", host.decode("latin-1")).lower()
    if name not in allowed_hosts:
        raise Problem(
            ProblemKind.WRONG_HOST,
            f"this gateway does not accept the host name {name!r} (GATEWAY_HOSTS)",
        )


def _check_type(content_type: bytes) -> None:
    name = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if name not in CONTENT_TYPES:
        accepted = ", ".join(sorted(CONTENT_TYPES))
        raise Problem(
            ProblemKind.WRONG_TYPE, f"set the Content-Type of the body to one of {accepted}"
        )


def _with_timeout(receive: Receive) -> Receive:
    """Return a `receive` that waits `BODY_TIMEOUT` for each piece of the body, and without limit after.

    After the body only the disconnection of the client is awaited.
    """
    is_complete = False

    async def receive_in_time() -> Message:
        nonlocal is_complete
        if is_complete:
            return await receive()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                message = await receive()
        except TimeoutError:
            detail = f"no data of the body was received for {BODY_TIMEOUT:g} s"
            raise Problem(ProblemKind.TOO_SLOW, detail, headers={"Connection": "close"}) from None
        is_complete = not message.get("more_body", False)
        return message

    return receive_in_time


def _bounded(receive: Receive, max_bytes: int, length: bytes) -> Receive:
    """Return a `receive` that raises once the body has more than `max_bytes`.

    Raises:
        Problem: the Content-Length exceeds the limit; the body is not read.
    """
    if length.isdigit() and int(length) > max_bytes:
        raise too_large(max_bytes)
    remaining = max_bytes

    async def receive_bounded() -> Message:
        nonlocal remaining
        message = await receive()
        remaining -= len(cast("bytes", message.get("body", b"")))
        if remaining < 0:
            raise too_large(max_bytes)
        return message

    return receive_bounded


def too_large(max_bytes: int) -> Problem:
    """Return the problem of a body with more bytes than allowed. The rest of it is not read."""
    return Problem(
        ProblemKind.TOO_LARGE,
        f"the body is larger than {max_bytes:,} bytes",
        headers={"Connection": "close"},
    )
