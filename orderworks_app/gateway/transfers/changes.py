"""Updates in bodies of requests: the members of `OrderUpdate`, whose ids may be text."""

import msgspec

from orderworks.updates.messages import (
    Money,
    OrderUpdate,
    Version,
    exact_decimal,
    invalid_document,
    parse_version,
)
from orderworks_app.gateway.http.ids import JsonId, id_of

JsonVersion = int | str
"""A version in the body of a request: a number, its digits as text, or a moment."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The changes to an order: the fields of `OrderUpdate` without the id."""

    total: Money | None = None
    status: str | None = None
    customer_id: JsonId | None = None
    version: JsonVersion | None = None

    def update_of(self, order_id: int) -> OrderUpdate:
        """Return the update of an order.

        Raises:
            InvalidUpdate: a field is not valid; the error names it.
        """
        return OrderUpdate(
            order_id=order_id,
            total=self.total,
            status=self.status,
            customer_id=_optional("customer_id", self.customer_id),
            version=None if self.version is None else _version(self.version),
        )


class ChangeLine(Change, frozen=True, kw_only=True):
    """A line of a batch: a change, and the id of its order."""

    order_id: JsonId


ChangeLine.__name__ = "OrderUpdate"
"""Its name in the OpenAPI document."""

_decoder = msgspec.json.Decoder(ChangeLine, float_hook=exact_decimal)


def decode_line(line: bytes) -> OrderUpdate:
    """Read an update from a line of a batch.

    Raises:
        InvalidUpdate: as for `OrderUpdate.decode`.
    """
    try:
        change = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_document(error) from None
    return change.update_of(id_of("order_id", change.order_id))


def _version(value: JsonVersion) -> Version:
    if isinstance(value, int) or value.isdecimal():
        return id_of("version", value)
    return parse_version(value)


def _optional(field: str, value: JsonId | None) -> int | None:
    return None if value is None else id_of(field, value)
