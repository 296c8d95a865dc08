"""The layout of the update streams: the number of shards, which producers and workers must agree on.

All updates of an order have to go through one stream, or their order is lost. So each shard has a layout
key in the slot of its stream, with the number of shards, and the script that appends checks it. Shard 0,
which every layout has, is authoritative: if a shard has no key, that of shard 0 is read, and a change
begins and ends with it (`orderworks/updates/resharding.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import redis

from orderworks.core import keys
from orderworks.core.errors import Backpressure, ConfigurationError, OrderworksError
from orderworks.core.redis import Redis, is_wrong_type

_LAYOUT = re.compile(rb"([0-9]{1,4})(?:>([0-9]{1,4}))?")
_POSSIBLE = range(1, 1025)


class ShardLayout(NamedTuple):
    """The value of a shard's layout key.

    Attributes:
        shards: the number of shards over which waiting updates are spread.
        goal: the new number during a change, while appends are refused; otherwise None.
    """

    shards: int
    goal: int | None = None

    def encode(self) -> bytes:
        """Return the value as it is stored: `2`, or `2>4` during a change."""
        return b"%d" % self.shards if self.goal is None else b"%d>%d" % (self.shards, self.goal)

    @classmethod
    def decode(cls, document: bytes) -> Self:
        """Read the value that `encode` returned.

        Raises:
            ConfigurationError: it is another value.
        """
        match = _LAYOUT.fullmatch(document)
        if match is None:
            raise _damaged(document)
        layout = cls(int(match[1]), int(match[2]) if match[2] else None)
        if not {layout.shards, layout.goal or 1}.issubset(_POSSIBLE):
            raise _damaged(document)
        return layout

    def mismatch_error(self, shards: int) -> OrderworksError:
        """Return the error of a client that is configured with `shards`, and so cannot append."""
        if self.goal is not None:
            return Backpressure(
                f"the number of shards is being changed from {self.shards} to {self.goal}: try again "
                "in a moment; if it lasts, `orderworks reshard` was interrupted"
            )
        return ConfigurationError(
            f"UPDATE_SHARDS is {shards} here, but the updates are spread over {self.shards} shards: set "
            f"UPDATE_SHARDS={self.shards} and start again, or change it with `orderworks reshard`"
        )


def layout_error(document: bytes, shards: int) -> OrderworksError:
    """Return the error of a client with `shards` where a layout key has this other value."""
    try:
        return ShardLayout.decode(document).mismatch_error(shards)
    except ConfigurationError as damaged:
        return damaged


def _damaged(document: bytes) -> ConfigurationError:
    shown = document[:40].decode(errors="backslashreplace")
    return ConfigurationError(
        f"a key orders:layout:{{…}} of the update stream has {shown!r} and not a number of shards: "
        "delete that key in Redis, and the next append sets it to UPDATE_SHARDS"
    )


def ensure_layout(client: Redis, shards: int) -> None:
    """Set the layout key of shards that have none, unless shard 0 has another layout.

    Raises:
        Backpressure: the layout is being changed.
        ConfigurationError: the updates are spread over another number of shards.
    """
    key, value = keys.update_layout(0), ShardLayout(shards).encode()
    pipeline = client.pipeline(transaction=False)
    pipeline.set(key, value, nx=True)
    pipeline.get(key)
    with _wrong_type_as_damage():
        stored = pipeline.execute()[-1]
    if stored != value:
        raise layout_error(stored, shards)
    # If the layout is changed in between, all shards have a key by now, and this does nothing.
    for shard in range(1, shards):
        pipeline.set(keys.update_layout(shard), value, nx=True)
    pipeline.execute()


def read_layout(client: Redis) -> ShardLayout | None:
    """Return the layout of shard 0; None before the first append.

    Raises:
        ConfigurationError: its layout key has another value than a layout.
    """
    with _wrong_type_as_damage():
        stored: Any = client.get(keys.update_layout(0))
    return None if stored is None else ShardLayout.decode(stored)


@contextmanager
def _wrong_type_as_damage() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
        raise _damaged(b"a list, set, hash or stream") from None
