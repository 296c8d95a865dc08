"""JSON out and in: documents are msgspec's, totals are strings, times ISO 8601."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind

T = TypeVar("T")


def json_response(
    document: Any,  # noqa: ANN401 - whatever msgspec can encode
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer of one JSON document."""
    body = msgspec.json.encode(document)
    return Response(body, status, headers=headers, media_type="application/json")


async def read_json(request: Request, kind: type[T]) -> T:
    """The body as one document of this kind.

    Raises:
        Problem: it is no JSON, or not such a document; names the field.
    """
    return decode_body(await request.body(), kind)


def decode_body(body: bytes, kind: type[T]) -> T:
    """What `read_json` gives, of a body that was read."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        wrong = _field_error(str(error))
        detail = f"{wrong.field}: {wrong.detail}"
        raise Problem(ProblemKind.INVALID, detail, errors=[wrong]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(ProblemKind.MALFORMED, f"the body is no JSON: {error}") from None


def _field_error(message: str) -> FieldError:
    """What the decoder says, with the field that it is about."""
    problem, _, path = message.partition(" - at `$")
    of_object = re.search(r"(?:unknown|required) field `(.+)`$", problem)
    names = [path.rstrip("`").lstrip("."), of_object[1] if of_object else ""]
    return FieldError(".".join(filter(None, names)) or "body", problem)
