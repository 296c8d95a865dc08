"""Values decode to equal values; others are refused at decoration, or not cached."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.cache.codec import Codec, codec_of


class Status(Enum):
    """Text."""

    NEW = "new"
    PAID = "paid"


class Rank(IntEnum):
    """Numbers."""

    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Money:
    """A dataclass."""

    amount: Decimal
    currency: str


class Line(msgspec.Struct):
    """A struct that contains structs of its type."""

    id: int
    money: Money | None
    parts: "list[Line]"


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: datetime


class Document(TypedDict):
    """A typed dictionary."""

    key: UUID
    tags: set[str]


MINUTES = st.integers(-1439, 1439)
MOMENTS = st.datetimes() | st.datetimes(
    timezones=st.builds(timezone, st.builds(timedelta, minutes=MINUTES))
)
DECIMALS = st.decimals(allow_nan=False)
MONEY = st.builds(Money, DECIMALS, st.text())
LINES = st.recursive(
    st.builds(Line, st.integers(), st.none() | MONEY, st.just([])),
    lambda inner: st.builds(Line, st.integers(), MONEY, st.lists(inner, max_size=3)),
    max_leaves=5,
)

KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Decimal, DECIMALS),
    (datetime, MOMENTS),
    (date | None, st.none() | st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-9999), timedelta(days=9999))),
    (UUID, st.uuids()),
    (Status, st.sampled_from(Status)),
    (Rank, st.sampled_from(Rank)),
    (Money, MONEY),
    (Line, LINES),
    (Pair, st.builds(Pair, st.integers(), MOMENTS)),
    (Document, st.fixed_dictionaries({"key": st.uuids(), "tags": st.sets(st.text())})),
    (dict[int, Decimal], st.dictionaries(st.integers(), DECIMALS)),
    (dict[UUID, list[bytes]], st.dictionaries(st.uuids(), st.lists(st.binary()))),
    (set[int], st.sets(st.integers())),
    (frozenset[str], st.frozensets(st.text())),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (tuple[Decimal, ...], st.lists(DECIMALS).map(tuple)),
    (list[float], st.lists(st.floats(allow_nan=False, allow_infinity=False))),
    (int | str | bool | None, st.none() | st.integers() | st.text() | st.booleans()),
    (bytes, st.binary()),
]


@pytest.mark.parametrize(("annotation", "values"), KINDS, ids=[str(kind) for kind, _ in KINDS])
def test_values_round_trip(annotation: object, values: st.SearchStrategy[object]) -> None:
    def read() -> object: ...

    read.__annotations__["return"] = annotation
    codec = codec_of("read", read)

    @given(values)
    def check(value: object) -> None:
        body = codec.encode(value)
        assert body is not None
        assert exact(codec.decode(body)) == exact(value)

    check()


def exact(value: object) -> object:
    """Return what `==` does not compare: types, digits of decimals, offsets."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {exact(key): exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [exact(each) for each in value]
    return type(value), value


def test_datetime_offset_and_decimal_digits_are_kept() -> None:
    codec = Codec[tuple[datetime, Decimal]]("read", tuple[datetime, Decimal])
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    body = codec.encode((moment, Decimal("1.500")))
    assert body is not None
    found, amount = codec.decode(body)
    assert found.utcoffset() == timedelta(hours=5, minutes=30)
    assert str(amount) == "1.500"


def no_annotation():  # type: ignore[no-untyped-def]  # noqa: ANN201 - this is tested
    raise AssertionError


def anything() -> Any:  # noqa: ANN401 - this is tested
    raise AssertionError


def anything_within() -> dict[str, list[Any]]:
    raise AssertionError


def bare() -> list:  # type: ignore[type-arg]
    raise AssertionError


def some_object() -> object:
    raise AssertionError


def unknown_class() -> pytest.MonkeyPatch:
    raise AssertionError


def a_stream() -> Iterator[int]:
    raise AssertionError


def either() -> date | Decimal:
    raise AssertionError


def unresolved() -> "NoSuchName":  # type: ignore[name-defined]  # noqa: F821 - this is tested
    raise AssertionError


@pytest.mark.parametrize(
    "function",
    [
        no_annotation,
        anything,
        anything_within,
        bare,
        some_object,
        unknown_class,
        a_stream,
        either,
        unresolved,
    ],
    ids=lambda function: function.__name__,
)
def test_function_with_undecodable_result_type_is_refused_by_name(
    function: Callable[[], object],
) -> None:
    with pytest.raises(TypeError, match="^the_name: .*(add|Annotate|use)"):
        codec_of("the_name", function)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "no int"),
        (list[int], (1, 2)),
        (float, float("nan")),
        (Decimal, Decimal("NaN")),
        (Decimal, Decimal("sNaN")),
        (Money, Line(1, None, [])),
        (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=10)))),
        pytest.param(int, object(), id="object"),
    ],
    ids=repr,
)
def test_value_that_would_not_round_trip_is_not_encoded_and_is_logged(
    annotation: object, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert Codec[object]("the_name", annotation).encode(value) is None
    assert "value_not_cached function=the_name" in caplog.text
