"""Lists page by page: a cursor is the place of the last thing on a page, opaque to clients."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind
from orderworks_app.gateway.http.responses import json_response

T = TypeVar("T")


def decode_cursor(cursor: str | None, decoder: msgspec.json.Decoder[T]) -> T | None:
    """The place that a cursor of ours names; None without one.

    Raises:
        Problem: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place = decoder.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
        _check_times(place)
    except (msgspec.DecodeError, binascii.Error, UnicodeError, OverflowError):
        detail = "is not what `next` of the page before says"
        raise Problem(
            ProblemKind.INVALID, f"cursor: {detail}", errors=[FieldError("cursor", detail)]
        ) from None
    return place


def _check_times(position: object) -> None:
    """Raise OverflowError where a time is none in UTC."""
    for each in position if isinstance(position, tuple) else ():
        if isinstance(each, datetime):
            each.astimezone(UTC)


def encode_cursor(position: object) -> str:
    """The cursor that names a place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def page_response(
    request: Request,
    name: str,
    rows: Sequence[T],
    limit: int,
    position_of: Callable[[T], object],
    **more: Any,  # noqa: ANN401 - whatever msgspec can encode
) -> Response:
    """At most `limit` of what was found, where one more was looked for; and the next page's cursor.

    `name` is what the list is called in the document, `more` its further members.
    """
    shown = rows[:limit]
    following = encode_cursor(position_of(shown[-1])) if len(rows) > limit else None
    headers = {}
    if following:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return json_response({name: shown, "next": following, **more}, headers=headers)
