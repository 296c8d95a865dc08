"""Ids: in plain digits in paths and queries, and as text for clients whose numbers are not exact.

JavaScript reads every JSON number as a double, which is exact up to 2**53 only; ids go up to 2**63 - 1.
So bodies may have ids as text, and `?ids=text` requests them as text in responses.
"""

import re
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from orderworks.core.bounds import MAX_BIGINT
from orderworks.core.errors import InvalidUpdate

DIGITS = re.compile("0|[1-9][0-9]*")

DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")

MAX_DIGITS = 19
"""Digits of 2**63 - 1."""

ID_MEMBERS = frozenset({"customer_id", "id", "ids", "missing", "order", "order_id", "version"})
"""Members of documents that are integers up to 2**63 - 1, or lists of them."""


def _plain_digits(value: object) -> object:
    """Return the value of an integer parameter.

    Raises:
        PydanticCustomError: it is written in another way, by which one id would have several names.
    """
    if isinstance(value, str) and not DIGITS.fullmatch(value):
        raise PydanticCustomError(
            "digits", "write the number in digits 0 to 9, without sign, spaces or leading zeros"
        )
    return value


def _plain_decimal(value: object) -> object:
    """Return the value of a parameter that is a number; raise as `_plain_digits`."""
    if isinstance(value, str) and not DECIMAL.fullmatch(value):
        raise PydanticCustomError("decimal", "write the number in digits 0 to 9, such as 0.5 or 30")
    return value


PLAIN_DIGITS = BeforeValidator(_plain_digits)
"""Follows the limits in the annotation of an integer of a path or a query."""

PLAIN_DECIMAL = BeforeValidator(_plain_decimal)
"""The same for a number that may have decimals."""

JsonId = int | str
"""An id or a version in the body of a request: a number, or its digits as text."""


class IdForm(StrEnum):
    """The form of ids in a response."""

    NUMBER = "number"
    TEXT = "text"


IdFormQuery = Annotated[
    IdForm,
    Query(alias="ids", description="text: ids and versions in the response are strings."),
]
"""A parameter of routes whose responses have ids."""


def id_of(field: str, value: JsonId) -> int:
    """Return the integer that a body has, as a number or as text.

    Raises:
        InvalidUpdate: the text is not the plain digits of 0 to 2**63 - 1; names the field.
    """
    if isinstance(value, int):
        return value
    if len(value) > MAX_DIGITS or not DIGITS.fullmatch(value) or int(value) > MAX_BIGINT:
        shown = f"{value[:MAX_DIGITS]}…" if len(value) > MAX_DIGITS else value
        raise InvalidUpdate(field, f"{shown!r} is not the plain digits of 0 to {MAX_BIGINT}")
    return int(value)


def in_form(document: object, form: IdForm) -> object:
    """Return the document of a response with its ids in this form."""
    return document if form is IdForm.NUMBER else _with_text(msgspec.to_builtins(document))


def _with_text(node: Any, *, is_id: bool = False) -> Any:  # noqa: ANN401 - JSON
    if isinstance(node, dict):
        return {name: _with_text(each, is_id=name in ID_MEMBERS) for name, each in node.items()}
    if isinstance(node, list):
        return [_with_text(each, is_id=is_id) for each in node]
    return str(node) if is_id and type(node) is int else node
