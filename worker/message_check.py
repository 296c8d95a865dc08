"""The form that a message must have, and the log line of one that is refused.

Celery uses most members of a message unchecked in a worker's main process. A body of two elements, or a
time limit that is text, would end the process there, and the message would be delivered to the next
one. So a message is checked as a whole before Celery uses any part of it.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn

import msgspec
import structlog
from kombu.message import Message

MAX_NESTING = 100
"""Levels of lists and objects in a message. Celery passes the message to a child by pickle, which
fails at some hundred."""

MAX_DELAY = timedelta(days=1)
"""Time from now until the latest `eta`. Until then a worker holds the message, and takes it again after
each visibility timeout."""

SHOWN = 200
"""Characters of a refused message in the log."""

log = structlog.get_logger()

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class MalformedMessage(Exception):
    """A message is not one that Celery can process; the text states the member and the problem."""


class _Signature(msgspec.Struct):
    """A task to call after this one."""

    task: str


class _Callbacks(msgspec.Struct, forbid_unknown_fields=True):
    """The third element of a body. Celery merges it into the request, so it has no other members."""

    callbacks: list[_Signature] | None = None
    errbacks: list[_Signature] | None = None
    chain: list[_Signature] | None = None
    chord: _Signature | None = None


class _Request(msgspec.Struct):
    """The headers that Celery uses; others are passed on to the task."""

    task: str
    id: str
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    taskset: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    retries: Count = 0
    timelimit: tuple[Seconds | None, Seconds | None] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: Count | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None
    callbacks: list[_Signature] | None = None
    errbacks: list[_Signature] | None = None
    chain: list[_Signature] | None = None
    chord: _Signature | None = None


class _OldBody(msgspec.Struct):
    """The arguments in a body of Celery's old protocol, which may have the headers too."""

    args: list[Any]
    kwargs: dict[str, Any] = {}


def check_message(message: Message) -> None:
    """Check that Celery can process the message.

    Raises:
        MalformedMessage: it cannot.
        Exception: the body cannot be decoded.
    """
    headers, body = message.headers, message.payload
    _limit_nesting([headers, message.properties, body])
    if isinstance(body, dict):
        _convert("body", body, _OldBody)
        headers = {**body, **headers}
    else:
        _convert("body", body, tuple[list[Any], dict[str, Any], _Callbacks | None])
    _check_times(_convert("headers", headers, _Request))


def _convert(member: str, value: object, shape: Any) -> Any:  # noqa: ANN401 - any type, and its value
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        _refuse(f"{member}: {error}")


def _limit_nesting(value: object) -> None:
    """Refuse a value with too many levels of lists and objects, without recursion."""
    level: list[Any] = [value]
    for _depth in range(MAX_NESTING + 1):
        containers = [each for each in level if isinstance(each, list | tuple | dict)]
        if not containers:
            return
        level = [
            inner
            for each in containers
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    _refuse(f"it is nested more than {MAX_NESTING} levels deep")


def _check_times(request: _Request) -> None:
    """Check that the times are times, and that the message is due soon."""
    _read_time("expires", request.expires)
    eta = _read_time("eta", request.eta)
    if eta and eta > datetime.now(UTC) + MAX_DELAY:
        _refuse(f"headers: eta: {request.eta} is more than a day from now")


def _read_time(header: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    except ValueError as error:
        _refuse(f"headers: {header}: {error}")


def _refuse(reason: str) -> NoReturn:
    raise MalformedMessage(reason) from None


def report_refused(error: Exception, content: object, **fields: object) -> None:
    """Log that a message was refused, with the beginning of its content."""
    reason = str(error) if isinstance(error, MalformedMessage) else repr(error)
    named = {name: _beginning(value) for name, value in fields.items() if value is not None}
    log.error("message_refused", reason=reason[:SHOWN], **named, content=_beginning(content))


def _beginning(value: object) -> str:
    """Return the first characters of a text or bytes, with all others than ASCII escaped."""
    if isinstance(value, str):
        value = value[:SHOWN].encode("utf-8", "backslashreplace")
    if isinstance(value, bytes | bytearray | memoryview):
        return repr(bytes(value[:SHOWN]))[2:-1]
    return f"({type(value).__name__})"
