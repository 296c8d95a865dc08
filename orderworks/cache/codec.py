"""Encoding of values as bytes and decoding by the return annotation of the decorated function.

The format is JSON: unlike the binary formats it keeps the UTC offset of a datetime. Decimals are text.
"""

import inspect
import logging
import typing
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect as types

T = TypeVar("T")

log = logging.getLogger(__name__)

UNSAFE_TYPES = (types.AnyType, types.CustomType, types.RawType, types.ExtType)
"""Types that do not state what msgspec has to decode to."""


class Codec(Generic[T]):
    """Encodes the values of one function, and decodes them to equal values."""

    def __init__(self, name: str, annotation: Any) -> None:  # noqa: ANN401 - any type may be one
        """`name`: the function's, for the log. `annotation`: what it returns.

        Raises:
            TypeError: msgspec cannot decode this type.
        """
        self._name = name
        self._encode = msgspec.json.Encoder().encode
        self.decode: Callable[[bytes], T] = msgspec.json.Decoder(annotation).decode

    def encode(self, value: T) -> bytes | None:
        """Return the value as bytes; None, and log an error, if it would decode to a different value.

        That is so for a value that does not fit the function's annotation, and for NaN.
        """
        try:
            body = self._encode(value)
            if self.decode(body) == value:
                return body
            problem = "it would decode to a different value"
        except (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError) as e:
            problem = str(e)
        log.error("value_not_cached function=%s type=%s error=%s", self._name, type(value), problem)
        return None


def codec_of(name: str, function: Callable[..., Any]) -> Codec[Any]:
    """Return the codec for what the function returns.

    Raises:
        TypeError: its return annotation is missing or too general; the message has the remedy.
    """
    annotation = _return_annotation(name, function)
    try:
        _reject_unsafe(types.type_info(annotation))
        return Codec(name, annotation)
    except TypeError as error:
        raise TypeError(
            f"{name}: cached values cannot be decoded by its return annotation {annotation!r}: "
            f"{error}. Annotate it with builtin types, dataclasses or msgspec structs"
        ) from None


def _return_annotation(name: str, function: Callable[..., Any]) -> object:
    target = inspect.unwrap(getattr(function, "__func__", function))
    try:
        return typing.get_type_hints(target, include_extras=True)["return"]
    except KeyError:
        raise TypeError(
            f"{name}: it has no return annotation; add one, since cached values are decoded by it"
        ) from None
    except NameError as error:
        raise TypeError(
            f"{name}: its annotations cannot be resolved ({error}); use names defined in its module"
        ) from None


def _reject_unsafe(kind: types.Type) -> None:
    for each in _nested_types(kind, {}):
        if isinstance(each, UNSAFE_TYPES):
            raise TypeError("Any, object and classes unknown to msgspec do not state a type")


def _nested_types(kind: types.Type, seen: dict[int, types.Type]) -> Iterator[types.Type]:
    """Yield a type and all types within it; each once, because types may be recursive."""
    if id(kind) in seen:
        return
    seen[id(kind)] = kind
    yield kind
    for name in kind.__struct_fields__:
        for inner in _types_in(getattr(kind, name)):
            yield from _nested_types(inner, seen)


def _types_in(value: object) -> Iterator[types.Type]:
    if isinstance(value, types.Field):
        yield from _types_in(value.type)
    elif isinstance(value, types.Type):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _types_in(each)
