"""JSON bodies of requests and responses, by msgspec: totals are strings, times ISO 8601."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from orderworks.updates.messages import exact_decimal
from orderworks_app.gateway.http.problems import FieldError, Problem, ProblemKind

T = TypeVar("T")


def json_response(
    document: Any,  # noqa: ANN401 - any value that msgspec can encode
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with one JSON document."""
    body = msgspec.json.encode(document)
    return Response(body, status, headers=headers, media_type="application/json")


async def read_json(request: Request, kind: type[T]) -> T:
    """Read the body as a JSON document of this type.

    Raises:
        Problem: as for `decode_body`.
    """
    return decode_body(await request.body(), kind)


def decode_body(body: bytes, kind: type[T]) -> T:
    """Decode a JSON document of this type.

    Raises:
        Problem: the body is not JSON, or not of this type; names the field.
        InvalidUpdate: the total of an update is not a number.
    """
    try:
        return msgspec.json.Decoder(kind, float_hook=exact_decimal).decode(body)
    except msgspec.ValidationError as error:
        invalid = _field_error(str(error))
        detail = f"{invalid.field}: {invalid.detail}"
        raise Problem(ProblemKind.INVALID, detail, errors=[invalid]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(ProblemKind.MALFORMED, f"the body is not JSON: {error}") from None


def _field_error(message: str) -> FieldError:
    """Split a message of the decoder into the field and the problem."""
    problem, _, path = message.partition(" - at `$")
    of_object = re.search(r"(?:unknown|required) field `(.+)`$", problem)
    names = [path.rstrip("`").lstrip("."), of_object[1] if of_object else ""]
    return FieldError(".".join(filter(None, names)) or "body", problem)
