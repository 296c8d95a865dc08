"""Values as bytes and back, typed by what the decorated function says it returns.

JSON, because it keeps what the binary formats lose: the offset of a datetime. Decimals are text in it.
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
"""Types of which msgspec does not know, at the time of decoding, what stood there."""


class Codec(Generic[T]):
    """Encodes the values of one function, and decodes them to what they were."""

    def __init__(self, name: str, annotation: Any) -> None:  # noqa: ANN401 - any type may be one
        """`name` is the function's, for what is logged.

        Raises:
            TypeError: msgspec cannot decode this type.
        """
        self._name = name
        self._encode = msgspec.json.Encoder().encode
        self.decode: Callable[[bytes], T] = msgspec.json.Decoder(annotation).decode

    def encode(self, value: T) -> bytes | None:
        """The value as bytes; None, and a line in the log, if another one would come back.

        That happens where a function returns what its annotation does not say, or a NaN.
        """
        try:
            body = self._encode(value)
            if self.decode(body) == value:
                return body
            problem = "it would come back as another value"
        except (TypeError, ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError) as e:
            problem = str(e)
        log.error("value_not_cached function=%s type=%s error=%s", self._name, type(value), problem)
        return None


def codec_of(name: str, function: Callable[..., Any]) -> Codec[Any]:
    """The codec for what the function returns.

    Raises:
        TypeError: its return annotation is missing, or does not say enough; tells the remedy.
    """
    annotation = _return_annotation(name, function)
    try:
        _reject_unsafe(types.type_info(annotation))
        return Codec(name, annotation)
    except TypeError as error:
        raise TypeError(
            f"{name}: cached values cannot be decoded by its return annotation {annotation!r}: "
            f"{error}. Annotate what it returns by builtin types, dataclasses or msgspec structs"
        ) from None


def _reject_unsafe(kind: types.Type) -> None:
    for each in _nested_types(kind, {}):
        if isinstance(each, UNSAFE_TYPES):
            raise TypeError("Any, object and classes that msgspec does not know could be anything")


def _return_annotation(name: str, function: Callable[..., Any]) -> object:
    target = inspect.unwrap(getattr(function, "__func__", function))
    try:
        return typing.get_type_hints(target, include_extras=True)["return"]
    except KeyError:
        raise TypeError(
            f"{name}: it has no return annotation: add one, cached values are decoded by it"
        ) from None
    except NameError as error:
        raise TypeError(
            f"{name}: its annotations cannot be resolved ({error}): use types that its module knows"
        ) from None


def _nested_types(kind: types.Type, seen: dict[int, types.Type]) -> Iterator[types.Type]:
    """A type and all types within it; each once, because some contain themselves."""
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
