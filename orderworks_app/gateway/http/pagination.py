"""Pages of lists: a cursor is the position of the last item of a page, opaque to clients."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from orderworks_app.gateway.http.ids import IdForm, in_form
from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind
from orderworks_app.gateway.http.responses import json_response

T = TypeVar("T")


def decode_cursor(cursor: str | None, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return the position that a cursor encodes; None without a cursor.

    Raises:
        Problem: the cursor is not valid.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        position = decoder.decode(base64.b64decode(padded, altchars=b"-_", validate=True))
        _check_times(position)
    except (msgspec.DecodeError, binascii.Error, UnicodeError, OverflowError):
        detail = "is not a value of `next` of a previous page"
        raise Problem(
            ProblemKind.INVALID, f"cursor: {detail}", errors=[FieldError("cursor", detail)]
        ) from None
    return position


def _check_times(position: object) -> None:
    """Raise OverflowError if a time is out of range in UTC."""
    for each in position if isinstance(position, tuple) else ():
        if isinstance(each, datetime):
            each.astimezone(UTC)


def encode_cursor(position: object) -> str:
    """Return the cursor of a position."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def page_response(
    request: Request,
    name: str,
    rows: Sequence[T],
    limit: int,
    position_of: Callable[[T], object],
    id_form: IdForm = IdForm.NUMBER,
    **extra: Any,  # noqa: ANN401 - any value that msgspec can encode
) -> Response:
    """Return a page of at most `limit` rows, and the cursor of the next page.

    The caller passes up to `limit` + 1 rows: one more than `limit` means that there is a next page.
    `name` is the member of the document that has the list; `extra` are its further members.
    """
    page = rows[:limit]
    next_cursor = encode_cursor(position_of(page[-1])) if len(rows) > limit else None
    headers = {}
    if next_cursor:
        url = request.url.include_query_params(cursor=next_cursor)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    document = {name: page, "next": next_cursor, **extra}
    return json_response(in_form(document, id_form), headers=headers)
