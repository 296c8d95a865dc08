"""Problem documents (RFC 9457, `application/problem+json`), and the mapping of all errors to them.

Unexpected errors are 500 and reveal no internals; the log has their traceback.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
import redis
import sqlalchemy as sa
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from orderworks.core.database import error_summary, is_transient
from orderworks.core.errors import (
    Backpressure,
    ConfigurationError,
    DataMissing,
    DeadUpdateNotFound,
    EntryNotFound,
    ImportFailed,
    ImportNotFound,
    InvalidInput,
    InvalidUpdate,
    OrderworksError,
    Unavailable,
    WrongState,
)
from orderworks.core.redis import redis_unavailable
from orderworks_app.gateway.backends.database_pool import error_line, is_outage

MEDIA_TYPE = "application/problem+json"

TYPES = "urn:orderworks:problem:"
"""The prefix of every `type`; the kind's slug follows."""

RETRY_WHEN_FULL, RETRY_WHEN_DOWN = 5, 2
"""Seconds of `Retry-After`: if a stream is full, and if a server is unavailable."""


class ProblemKind(Enum):
    """A kind of problem: its status, and the slug by which programs identify it."""

    MALFORMED = (400, "malformed")
    UNAUTHORIZED = (401, "unauthorized")
    FORBIDDEN = (403, "forbidden")
    NOT_FOUND = (404, "not-found")
    WRONG_METHOD = (405, "wrong-method")
    WRONG_STATE = (409, "wrong-state")
    IN_PROGRESS = (409, "in-progress")
    TOO_SLOW = (408, "too-slow")
    TOO_LARGE = (413, "too-large")
    WRONG_TYPE = (415, "wrong-media-type")
    WRONG_HOST = (421, "wrong-host")
    INVALID = (422, "invalid")
    KEY_REUSED = (422, "key-reused")
    TOO_MANY_REJECTS = (422, "too-many-rejects")
    TOO_MANY = (429, "too-many-requests")
    BACKPRESSURE = (429, "backpressure")
    HEAD_TOO_LARGE = (431, "head-too-large")
    INTERNAL = (500, "internal")
    UNAVAILABLE = (503, "unavailable")

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.value[0]

    @property
    def slug(self) -> str:
        """The end of the problem's `type`."""
        return self.value[1]


class FieldError(msgspec.Struct, frozen=True):
    """An error in one field of a request."""

    field: str
    detail: str


class Problem(OrderworksError):
    """An error response. Routes may raise it; the middleware converts all other errors into one.

    Attributes:
        kind: the status and the slug.
        detail: a sentence for people.
        errors: errors in fields of the request.
        headers: headers of the response.
        more: further members of the document.
    """

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def response(self) -> Response:
        """Return the problem as a response."""
        document = {
            "type": f"{TYPES}{self.kind.slug}",
            "title": HTTPStatus(self.kind.status).phrase,
            "status": self.kind.status,
            "detail": self.detail,
            **({"errors": self.errors} if self.errors else {}),
            **self.more,
        }
        body = msgspec.json.encode(document)
        return Response(body, self.kind.status, headers=self.headers, media_type=MEDIA_TYPE)


def not_found(label: str) -> Problem:
    """Return a 404 problem; `label` is its detail."""
    return Problem(ProblemKind.NOT_FOUND, label)


def retry_later(kind: ProblemKind, detail: str, seconds: float) -> Problem:
    """Return a temporary problem with `Retry-After`, rounded up to whole seconds."""
    return Problem(kind, detail, headers={"Retry-After": str(max(1, round(seconds + 0.5)))})


def problem_of(error: Exception) -> Problem:
    """Return the problem of an error: INTERNAL for unexpected ones."""
    for kind, make in _PROBLEMS:
        if isinstance(error, kind):
            return make(error)
    return _internal(error)


async def handle_error(_request: Request, error: Exception) -> Response:
    """Answer errors that FastAPI and Starlette raise; an exception handler of the application."""
    return problem_of(error).response()


def _internal(_error: Exception) -> Problem:
    return Problem(
        ProblemKind.INTERNAL, "internal error; the gateway's log has it under this request's id"
    )


def _of_update(error: InvalidUpdate) -> Problem:
    return Problem(ProblemKind.INVALID, str(error), errors=[FieldError(error.field, error.problem)])


def _of_input(error: InvalidInput) -> Problem:
    """Name the option if the message has the form `name: problem`; errors of files have no option."""
    option = re.match("([a-z_]+): (.*)", str(error)) if type(error) is InvalidInput else None
    errors = [FieldError(*option.groups())] if option else []
    return Problem(ProblemKind.INVALID, str(error), errors=errors)


def _of_http(error: HTTPException) -> Problem:
    """Convert errors of the router: unknown path, wrong method."""
    kinds = {kind.status: kind for kind in reversed(ProblemKind)}
    kind = kinds.get(error.status_code, ProblemKind.MALFORMED)
    return Problem(kind, str(error.detail), headers=error.headers)


def _of_validation(error: RequestValidationError) -> Problem:
    errors = [FieldError(_path(each["loc"]), each["msg"]) for each in error.errors()]
    first = f"{errors[0].field}: {errors[0].detail}" if errors else "the request is not valid"
    return Problem(ProblemKind.INVALID, first, errors=errors)


def _path(location: Sequence[object]) -> str:
    """Return the name of a field, without whether it is in the path, the query or a header."""
    return ".".join(map(str, location[1:] if len(location) > 1 else location))


def _of_database(error: sa.exc.SQLAlchemyError) -> Problem:
    if not is_transient(error):
        return _internal(error)
    reason = (
        error_summary(error)
        if isinstance(error, sa.exc.DBAPIError)
        else "all connections are in use"
    )
    return _unavailable(Unavailable(f"PostgreSQL cannot be used: {reason}"))


def _of_postgres(error: Exception) -> Problem:
    if not is_outage(error):
        return _internal(error)
    return _unavailable(Unavailable(f"PostgreSQL cannot be used: {error_line(error)}"))


def _unavailable(error: Exception) -> Problem:
    return retry_later(ProblemKind.UNAVAILABLE, str(error), RETRY_WHEN_DOWN)


_PROBLEMS: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    (Problem, lambda error: error),
    (InvalidUpdate, _of_update),
    (InvalidInput, _of_input),
    (ImportNotFound, lambda error: not_found(str(error))),
    (DeadUpdateNotFound, lambda error: not_found(str(error))),
    (EntryNotFound, lambda error: not_found(str(error))),
    (WrongState, lambda error: Problem(ProblemKind.WRONG_STATE, str(error))),
    (ImportFailed, lambda error: Problem(ProblemKind.WRONG_STATE, str(error))),
    (
        Backpressure,
        lambda error: retry_later(ProblemKind.BACKPRESSURE, str(error), RETRY_WHEN_FULL),
    ),
    (Unavailable, _unavailable),
    (DataMissing, _unavailable),
    (ConfigurationError, _internal),
    (RequestValidationError, _of_validation),
    (HTTPException, _of_http),
    (sa.exc.SQLAlchemyError, _of_database),
    (redis.RedisError, lambda error: _unavailable(redis_unavailable(error))),
    (asyncpg.PostgresError, _of_postgres),
    (asyncpg.InterfaceError, _of_postgres),
)
"""The problem of each class of errors; the first matching class counts."""
