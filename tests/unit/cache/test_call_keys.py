"""Cache keys of calls: one key for all spellings of a call, different keys for different calls."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.cache.call_keys import MAX_FIELD_CHARS, Arguments, field_of

NOON = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - zones are put in below


class Color(Enum):
    """An enum, whose members have the class in their key."""

    RED = "r"


class Size(IntEnum):
    """An enum with a member that equals the number 1, and has another key."""

    ONE = 1


def page(customer_id: int, limit: int = 20, *, before: int | None = None) -> list[int]:
    raise AssertionError("it is not called")


def plain(customer_id: int, limit: int = 20) -> list[int]:
    raise AssertionError("it is not called")


def many(*ids: int, **flags: bool) -> list[int]:
    raise AssertionError("it is not called")


@pytest.mark.parametrize(
    "values",
    [
        Arguments(plain).values((1,), {}),
        Arguments(plain).values((1, 20), {}),
        Arguments(plain).values((1,), {"limit": 20}),
        Arguments(plain).values((), {"limit": 20, "customer_id": 1}),
    ],
)
def test_all_spellings_of_a_call_give_the_same_values(values: tuple[object, ...]) -> None:
    assert values == (1, 20)


def test_keyword_only_arguments_are_part_of_the_key() -> None:
    assert Arguments(page).values((1,), {}) == (1, 20, None)
    assert Arguments(page).values((1,), {"before": 7}) == (1, 20, 7)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"limits": 2})])
def test_call_invalid_for_the_function_is_refused(
    args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    with pytest.raises(TypeError, match="argument"):
        Arguments(plain).values(args, kwargs)


def test_variadic_arguments_are_one_value() -> None:
    assert field_of("many", Arguments(many).values((1, 2), {})) == "many((1,2,),())"
    flags = ({"odd": True, "even": False}, {"even": False, "odd": True})
    for each in flags:
        field = field_of("many", Arguments(many).values((), each))
        assert field == "many((),(('even',False,),('odd',True,),))"
    with pytest.raises(TypeError, match="type list"):
        field_of("many", Arguments(many).values((), {"odd": []}))


DIFFERENT = [
    (),
    (None,),
    (1,),
    (True,),
    ("1",),
    (b"1",),
    (Decimal(1),),
    (Decimal("1.0"),),
    (Size.ONE,),
    (Color.RED,),
    ("Color.RED",),
    ("",),
    ("a,b",),
    ("a", "b"),
    ("a','b",),
    (("a", "b"),),
    (("a",), "b"),
    ((),),
    (date(2026, 3, 1),),
    (NOON,),
    (NOON.replace(tzinfo=UTC),),
    (NOON.replace(tzinfo=timezone(timedelta(hours=1))),),
    (NOON.replace(tzinfo=ZoneInfo("Europe/Berlin")),),
    (NOON.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),),
    (UUID(int=1),),
]


def test_different_calls_have_different_keys() -> None:
    fields = [field_of("read", values) for values in DIFFERENT]
    assert len(set(fields)) == len(fields)
    assert "token" not in fields


EXACT = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.decimals()
VALUES = st.tuples(EXACT | st.tuples(EXACT, EXACT), EXACT)


@pytest.mark.slow
@given(VALUES, VALUES)
def test_keys_are_equal_only_if_values_are(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    fields = [field_of("read", values) for values in (one, other)]
    assert (fields[0] == fields[1]) == (repr(one) == repr(other))
    assert all(len(field.encode()) <= 4 * MAX_FIELD_CHARS for field in fields)


def test_long_calls_are_digested() -> None:
    fields = {field_of("read", ("x" * MAX_FIELD_CHARS + end,)) for end in "ab"}
    assert len(fields) == 2
    assert all(len(field) < MAX_FIELD_CHARS for field in fields)


class UnknownZone(tzinfo):
    """A time zone whose `repr` has its address in memory."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        """Return the offset of UTC."""
        return timedelta(0)

    def dst(self, _moment: datetime | None) -> None:
        """None."""

    def tzname(self, _moment: datetime | None) -> str:
        """Return the name of no known zone."""
        return "here"


@pytest.mark.parametrize(
    "value",
    [1.5, [1], {1}, object(), (1, [2]), NOON.replace(tzinfo=UnknownZone())],
    ids=["float", "list", "set", "object", "tuple with a list", "moment of an unknown zone"],
)
def test_argument_types_without_exact_key_are_refused(value: object) -> None:
    with pytest.raises(
        TypeError, match="^read: an argument of type .* cannot be part of a cache key"
    ):
        field_of("read", (value,))
