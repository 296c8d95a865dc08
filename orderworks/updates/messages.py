"""Messages between producers and workers: the update of an order, and its verdict."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from operator import index
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import msgspec

from orderworks.core.bounds import MAX_BIGINT, MAX_STATUS, MAX_TOTAL
from orderworks.core.errors import InvalidUpdate
from orderworks.core.invalid_values import describe_json
from orderworks.core.text import WHITE_SPACE, visible
from orderworks.core.versions import VERSION_MOMENTS, version_at

CENT = Decimal("0.01")
PLAIN_DECIMAL = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")
WHOLE = re.compile("[0-9]{1,40}")
PLAIN_CENTS = re.compile(r"[0-9]{1,12}\.[0-9]{2}")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WIDE = Context(prec=64)

if TYPE_CHECKING:
    Money = Decimal | str | int
    Version = int | datetime
else:
    # Not Decimal, which msgspec reads from a string by rules of its own: digits of any script, for one.
    # So a string stays one until `_money` checks it, and a number is read by `exact_decimal`.
    Money = Annotated[Any, msgspec.Meta(extra_json_schema={"type": "string", "format": "decimal"})]
    Version = int | datetime

NO_VERSION = "is neither a whole number nor a moment such as 2026-11-26T11:00:00Z"

FEW_DOCUMENTS = 8
"""Documents that are decoded one by one if at least one of them is not in the usual form."""


class Verdict(StrEnum):
    """The outcome of an accepted update. Every accepted update gets exactly one final verdict."""

    APPLIED = "applied"
    """Its fields were written to the order, except those that a newer write gave."""
    SUPERSEDED = "superseded"
    """Merged into a later update of the same order in the same batch."""
    STALE = "stale"
    """Newer writes gave all its fields; no effect."""
    DUPLICATE = "duplicate"
    """The order already has its values in this version; no effect."""
    DEAD = "dead"
    """Invalid, refused by the database, or parked for too long; kept as a dead letter."""
    PARKED = "parked"
    """Waiting for its order or customer to be created; not final."""

    @property
    def is_final(self) -> bool:
        """True for every verdict but `PARKED`."""
        return self is not Verdict.PARKED


class UpdateOutcome(msgspec.Struct, frozen=True):
    """The outcome of a tracked update, as the drain publishes it for the producer.

    Attributes:
        verdict: the final verdict.
        reason: why the update is dead, or which of its fields were not taken, and why; otherwise empty.
    """

    verdict: Verdict
    reason: str = ""

    def encode(self) -> bytes:
        """Return the outcome as a JSON object with both members."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read the document that `encode` returned; unknown members are ignored.

        Raises:
            msgspec.DecodeError: it is not such a document.
        """
        return _outcome_decoder.decode(document)  # type: ignore[return-value]  # as in OrderUpdate


class OrderUpdate(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A change of one order: the given fields are written, the others stay as they are.

    At least one of `total`, `status` and `customer_id` is required. An order that does not exist is
    created if both `customer_id` and `total` are given. Otherwise, or if the customer does not exist,
    the update waits for them for `UNKNOWN_ORDER_PATIENCE` seconds, and then becomes a dead letter.

    Attributes:
        order_id: 1 to 2**63 - 1. This and the other whole numbers may be of numpy.
        total: an amount of money, at least 0 and below 10**12, with at most two decimals: a string,
            Decimal or int. A float is refused, because it cannot represent cents exactly.
        status: 1 to 64 characters, such as "paid".
        customer_id: 1 to 2**63 - 1.
        version: a counter, 0 to 2**63 - 1, or a moment with a time zone, which is stored as a number
            on the scale of the order of acceptance. A field of the order is written if no write with a
            higher version gave it, so it is safe to send an update twice. Without a version, updates
            have their place in the order of acceptance. Use a counter for all updates of an order, or
            for none.

    Raises:
        InvalidUpdate: a field is not valid; the error names it.
    """

    order_id: int
    total: Money | None = None
    status: str | None = None
    customer_id: int | None = None
    version: Version | None = None

    def __post_init__(self) -> None:
        # This runs in the application for each update, so valid values are checked inline.
        if type(self.order_id) is not int or not 1 <= self.order_id <= MAX_BIGINT:
            _set_integer(self, "order_id", 1)
        if self.customer_id is not None:
            _set_integer(self, "customer_id", 1)
        if self.version is not None:
            if isinstance(self.version, datetime):
                msgspec.structs.force_setattr(self, "version", _version_at(self.version))
            _set_integer(self, "version", 0)
        if self.status is not None:
            _check_status(self.status)
        if self.total is not None:
            msgspec.structs.force_setattr(self, "total", _money(self.total))
        if self.total is None and self.status is None and self.customer_id is None:
            raise InvalidUpdate("update", "give at least one of total, status and customer_id")

    @property
    def own_version(self) -> int | None:
        """The version as a number; None if the update has none."""
        return cast("int | None", self.version)

    def encode(self) -> bytes:
        """Return the update as a JSON object, with the total as a string."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, document: bytes | str) -> Self:
        """Read an update from a JSON object.

        Raises:
            InvalidUpdate: the document is not JSON, has an unknown or lacks a required field, or a
                field is not valid.
        """
        try:
            return _decoder.decode(document)  # type: ignore[return-value]  # there are no subclasses
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise invalid_document(error) from None


def exact_decimal(number: str) -> Decimal:
    """Return the value of a JSON number, exactly.

    Raises:
        InvalidUpdate: its exponent is out of the range of Decimal.
    """
    try:
        return Decimal(number)
    except InvalidOperation:
        raise InvalidUpdate("total", f"{_shortened(number)} is not between 0 and 10**12") from None


_encoder = msgspec.json.Encoder(decimal_format="string")
_decoder = msgspec.json.Decoder(OrderUpdate, float_hook=exact_decimal)
_outcome_decoder = msgspec.json.Decoder(UpdateOutcome)


def parse_version(text: str) -> Version:
    """Return the version that a text has: a whole number in digits, or a moment as in a document.

    Raises:
        InvalidUpdate: it is neither.
    """
    if WHOLE.fullmatch(text):
        return int(text)
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise InvalidUpdate("version", f"{_shortened(text)} {NO_VERSION}") from None


def invalid_document(error: Exception) -> InvalidUpdate:
    """Return the error of an update for what msgspec raised; it names the field, or `update`."""
    problem, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`") or "update"
    return InvalidUpdate(field, NO_VERSION if field == "version" else describe_json(problem))


DecodeUpdate = Callable[[bytes], OrderUpdate]
"""Decodes one document; raises InvalidUpdate."""


def decode_updates(
    documents: Sequence[bytes], decode: DecodeUpdate = OrderUpdate.decode
) -> list[OrderUpdate | InvalidUpdate]:
    """Return the update of each document, in their order, or the error if it is invalid.

    Documents as `OrderUpdate.encode` writes them are read all at once, by rules that the decoder
    checks. Around one in another form they are halved until few are left, which `decode` reads one by
    one: so such a document makes only its neighbours slower.
    """
    if (decoded := _decode_usual(documents)) is not None:
        return decoded
    if len(documents) <= FEW_DOCUMENTS:
        return [_decode_or_error(document, decode) for document in documents]
    middle = len(documents) // 2
    halves = documents[:middle], documents[middle:]
    return [each for half in halves for each in decode_updates(half, decode)]


def _decode_usual(documents: Sequence[bytes]) -> list[OrderUpdate | InvalidUpdate] | None:
    """Return the updates of documents that are all in the form of `OrderUpdate.encode`, else None."""
    lines = b"\n".join(documents)
    # A text that begins with a brace and has no line end is one document, so each stays in its place.
    if lines.count(b"\n") == len(documents) - 1 and all(map(_begins_an_object, documents)):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            decoded = _line_decoder.decode_lines(lines)
            if len(decoded) == len(documents):
                return list(decoded)
    return None


def _begins_an_object(document: bytes) -> bool:
    return document.startswith(b"{")


def _decode_or_error(document: bytes, decode: DecodeUpdate) -> OrderUpdate | InvalidUpdate:
    try:
        return decode(document)
    except InvalidUpdate as invalid:
        # A new error. The raised one refers to the frames of its callers, and so to the list that it
        # would become an item of: thousands of such cycles block the process while they are collected.
        return InvalidUpdate(invalid.field, invalid.problem)
    except Exception as error:  # noqa: BLE001 - an unexpected error must not affect other documents
        return InvalidUpdate("update", str(error))


_Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


class _Canonical(OrderUpdate, frozen=True, gc=False):
    """An update as `encode` writes it: the limits of its fields, as rules for the decoder."""

    order_id: _Id
    total: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}\.[0-9]{2}\Z")] | None = None
    status: (
        Annotated[str, msgspec.Meta(pattern=rf"^[^\0\ud800-\udfff]{{1,{MAX_STATUS}}}\Z")] | None
    ) = None
    customer_id: _Id | None = None
    version: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None

    def __post_init__(self) -> None:
        if self.total is None and self.status is None and self.customer_id is None:
            raise ValueError("has no field to write")


_line_decoder = msgspec.json.Decoder(_Canonical)


def _set_integer(update: OrderUpdate, field: str, least: int) -> None:
    """Check a whole number; one of another library is stored as an int."""
    value = getattr(update, field)
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise InvalidUpdate(field, f"{_shortened(value)} is not a whole number")
    if not least <= number <= MAX_BIGINT:
        raise InvalidUpdate(field, f"is not between {least} and {MAX_BIGINT}")
    if type(value) is not int:
        msgspec.structs.force_setattr(update, field, number)


def _version_at(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidUpdate("version", f"{moment} has no time zone")
    version = version_at(moment)
    if not 0 <= version <= MAX_BIGINT:
        raise InvalidUpdate("version", f"{moment} is not {VERSION_MOMENTS}")
    return version


def _check_status(status: object) -> None:
    if not isinstance(status, str):
        raise InvalidUpdate("status", f"{status!r} is not text")
    if not 1 <= len(status) <= MAX_STATUS:
        raise InvalidUpdate("status", f"is {len(status)} characters long, not 1 to {MAX_STATUS}")
    if UNSTORABLE.search(status):
        raise InvalidUpdate("status", "has a character that PostgreSQL cannot store")


def _money(value: object) -> Decimal:
    if isinstance(value, str) and PLAIN_CENTS.fullmatch(value):
        return Decimal(value)
    if not isinstance(value, Decimal | str | int) or isinstance(value, bool):
        raise InvalidUpdate("total", f"give {_shortened(value)} as a string or a Decimal")
    amount = _parsed(value.strip(WHITE_SPACE)) if isinstance(value, str) else Decimal(value)
    if not amount.is_finite():
        raise InvalidUpdate("total", f"{value} is not a finite number")
    if not 0 <= amount < MAX_TOTAL:
        raise InvalidUpdate("total", f"{_shortened(value)} is not between 0 and 10**12")
    cents = amount.quantize(CENT, context=_WIDE)
    if cents != amount:
        raise InvalidUpdate("total", f"{_shortened(value)} has more than two decimals")
    return abs(cents)


def _parsed(text: str) -> Decimal:
    """Return the number that the text has in plain ASCII decimals, or NaN or an infinity by name."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidUpdate("total", f"{_shortened(text)} is not a number") from None
    if amount.is_finite() and not PLAIN_DECIMAL.fullmatch(text):
        raise InvalidUpdate("total", f"{_shortened(text)} is not a plain decimal number")
    return amount


def _shortened(value: object, limit: int = 40) -> str:
    text = f"'{visible(value)}'" if isinstance(value, str) else str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
