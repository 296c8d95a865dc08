"""Lists page by page: a cursor is the place of the last thing on a page, opaque to clients."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from orderworks_app.gateway.http.problems import FieldError, Kind, Problem
from orderworks_app.gateway.http.responses import answer

T = TypeVar("T")


def place_of(cursor: str | None, places: msgspec.json.Decoder[T]) -> T | None:
    """The place that a cursor of ours names; None without one.

    Raises:
        Problem: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place = places.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
        _check_times(place)
    except (msgspec.DecodeError, binascii.Error, UnicodeError, OverflowError):
        detail = "is not what `next` of the page before says"
        raise Problem(
            Kind.INVALID, f"cursor: {detail}", errors=[FieldError("cursor", detail)]
        ) from None
    return place


def _check_times(place: object) -> None:
    """Raise OverflowError where a time is none in UTC."""
    for each in place if isinstance(place, tuple) else ():
        if isinstance(each, datetime):
            each.astimezone(UTC)


def cursor_of(place: object) -> str:
    """The cursor that names a place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def page(
    request: Request,
    name: str,
    found: Sequence[T],
    limit: int,
    place: Callable[[T], object],
    **more: Any,  # noqa: ANN401 - whatever msgspec can encode
) -> Response:
    """At most `limit` of what was found, where one more was looked for; and the next page's cursor.

    `name` is what the list is called in the document, `more` its further members.
    """
    shown = found[:limit]
    following = cursor_of(place(shown[-1])) if len(found) > limit else None
    headers = {}
    if following:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return answer({name: shown, "next": following, **more}, headers=headers)
