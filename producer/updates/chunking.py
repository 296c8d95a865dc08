"""Chunks of any iterable of updates, with the error that ended it if one did."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate


class UpdateChunk(NamedTuple):
    """Updates of an iterable, and the error that it raised after them."""

    updates: list[OrderUpdate]
    failure: Exception | None = None


def require_update(update: object) -> OrderUpdate:
    """Return the argument if it is an update.

    Raises:
        InvalidUpdate: it is of another type.
    """
    if not isinstance(update, OrderUpdate):
        raise InvalidUpdate("update", f"{type(update).__name__} is not an OrderUpdate")
    return update


def iter_chunks(updates: Iterable[OrderUpdate], size: int) -> Iterator[UpdateChunk]:
    """Yield chunks of the iterable; it is not read further before the next chunk is requested."""
    iterator = iter(updates)
    failure: Exception | None = None
    while failure is None:
        chunk: list[OrderUpdate] = []
        try:
            # If the iterable raises, the updates before are in the chunk already.
            chunk.extend(map(require_update, islice(iterator, size)))
        except Exception as error:  # noqa: BLE001 - any error of the caller's iterable is reported
            failure = error
        if not chunk and failure is None:
            return
        yield UpdateChunk(chunk, failure)


async def aiter_chunks(
    updates: Iterable[OrderUpdate] | AsyncIterable[OrderUpdate], size: int
) -> AsyncGenerator[UpdateChunk, None]:
    """Yield the same chunks; the iterable may be an async one."""
    if not isinstance(updates, AsyncIterable):
        for each in iter_chunks(updates, size):
            yield each
        return
    iterator = aiter(updates)
    failure: Exception | None = None
    ended = False
    while not ended and failure is None:
        chunk: list[OrderUpdate] = []
        try:
            async for update in iterator:
                chunk.append(require_update(update))
                if len(chunk) == size:
                    break
            else:
                ended = True
        except Exception as error:  # noqa: BLE001 - as above
            failure = error
        if chunk or failure:
            yield UpdateChunk(chunk, failure)
