"""Any iterable of updates, in chunks to be sent, with the failure that ended it if one did."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate


class UpdateChunk(NamedTuple):
    """Updates that were taken from an iterable, and what it raised after them."""

    updates: list[OrderUpdate]
    failure: Exception | None = None


def require_update(update: object) -> OrderUpdate:
    """The update, if it is one.

    Raises:
        InvalidUpdate: it is something else.
    """
    if not isinstance(update, OrderUpdate):
        raise InvalidUpdate("update", f"{type(update).__name__} is not an OrderUpdate")
    return update


def iter_chunks(updates: Iterable[OrderUpdate], size: int) -> Iterator[UpdateChunk]:
    """Chunks of the iterable; nothing is taken from it before the chunk before is done with."""
    iterator = iter(updates)
    failure: Exception | None = None
    while failure is None:
        taken: list[OrderUpdate] = []
        try:
            # Where the iterable fails, what it gave before is in the chunk already.
            taken.extend(map(require_update, islice(iterator, size)))
        except Exception as error:  # noqa: BLE001 - whatever the caller's iterable raises is reported
            failure = error
        if not taken and failure is None:
            return
        yield UpdateChunk(taken, failure)


async def aiter_chunks(
    updates: Iterable[OrderUpdate] | AsyncIterable[OrderUpdate], size: int
) -> AsyncGenerator[UpdateChunk, None]:
    """What `chunks` gives, of an async iterable as well."""
    if not isinstance(updates, AsyncIterable):
        for chunk in iter_chunks(updates, size):
            yield chunk
        return
    iterator = aiter(updates)
    failure: Exception | None = None
    ended = False
    while not ended and failure is None:
        taken: list[OrderUpdate] = []
        try:
            async for update in iterator:
                taken.append(require_update(update))
                if len(taken) == size:
                    break
            else:
                ended = True
        except Exception as error:  # noqa: BLE001 - as above
            failure = error
        if taken or failure:
            yield UpdateChunk(taken, failure)
