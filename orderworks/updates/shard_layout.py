"""The layout of the update streams: the number of shards, which producers and workers must agree on.

All updates of an order have to go through one stream, or their order is lost. So each shard has a layout
key in the slot of its stream, with the number of shards, and the script that appends checks it. Shard 0,
which every layout has, is authoritative: if a shard has no key, that of shard 0 is read, and a change
begins and ends with it (`orderworks/updates/resharding.py`).
"""

from typing import Any, NamedTuple, Self

from orderworks.core import keys
from orderworks.core.errors import Backpressure, ConfigurationError, OrderworksError
from orderworks.core.redis import Redis

_CHANGING = b">"


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
        """Read the value that `encode` returned."""
        shards, changing, goal = document.partition(_CHANGING)
        return cls(int(shards), int(goal) if changing else None)

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
    stored = pipeline.execute()[-1]
    if stored != value:
        raise ShardLayout.decode(stored).mismatch_error(shards)
    # If the layout is changed in between, all shards have a key by now, and this does nothing.
    for shard in range(1, shards):
        pipeline.set(keys.update_layout(shard), value, nx=True)
    pipeline.execute()


def read_layout(client: Redis) -> ShardLayout | None:
    """Return the layout of shard 0; None before the first append."""
    stored: Any = client.get(keys.update_layout(0))
    return None if stored is None else ShardLayout.decode(stored)
