"""What names a call among all calls of its function: its arguments, however they are spelled."""

import inspect
from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

MAX_FIELD_CHARS = 200
"""Characters of a field; those of longer calls are digested."""

EXACT_TYPES = frozenset({type(None), bool, int, str, bytes, Decimal, date, UUID})
"""Types whose `repr` says everything about a value, the same in every process."""

EXACT_ZONE_TYPES = (type(None), timezone, ZoneInfo)
"""Likewise for the time zone of a datetime."""


class Arguments:
    """The arguments of a function's calls as one value a parameter."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        self.first = next(iter(parameters), None)
        plain = all(each.kind <= each.POSITIONAL_OR_KEYWORD for each in parameters)
        self._rest = next((each.name for each in parameters if each.kind is each.VAR_KEYWORD), None)
        self._count = len(parameters) if plain else -1
        self._defaults = tuple(
            each.default for each in parameters if each.default is not each.empty
        )

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """A value for each parameter, in the function's order.

        Raises:
            TypeError: the function cannot be called like this.
        """
        left_out = self._count - len(args)
        if not kwargs and 0 <= left_out <= len(self._defaults):
            # What `bind` would give, at a tenth of its time: most calls are like this.
            return args + self._defaults[len(self._defaults) - left_out :]
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self._rest is not None:
            # What `**` takes has no order of its own.
            bound.arguments[self._rest] = tuple(sorted(bound.arguments[self._rest].items()))
        return tuple(bound.arguments.values())


def field_of(name: str, values: tuple[Any, ...]) -> str:
    """The field of the hash in which the function `name` has its value for these arguments.

    Raises:
        TypeError: a value is of a type that does not name a call exactly.
    """
    if not values:
        return f"{name}()"
    field = f"{name}({','.join([_exact_repr(name, value) for value in values])})"
    if len(field) <= MAX_FIELD_CHARS:
        return field
    return f"{name}#{sha256(field.encode()).hexdigest()}"


def _exact_repr(name: str, value: object) -> str:
    kind = type(value)
    if kind in EXACT_TYPES:
        return repr(value)
    if isinstance(value, tuple) and kind is tuple:
        return f"({''.join([f'{_exact_repr(name, each)},' for each in value])})"
    if (
        isinstance(value, datetime)
        and kind is datetime
        and isinstance(value.tzinfo, EXACT_ZONE_TYPES)
    ):
        return repr(value)
    if isinstance(value, Enum) and isinstance(value.name, str):
        return f"{kind.__qualname__}.{value.name}"
    raise TypeError(
        f"{name}: an argument of type {kind.__qualname__} does not name a cached value exactly; "
        "give None, bool, int, str, bytes, Decimal, date, datetime, UUID, enum members, or tuples "
        "of these"
    )
