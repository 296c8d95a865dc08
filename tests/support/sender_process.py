"""One of many producers at once, in a thread or in a process: `python -m tests.support.sender_process`.

What each sends follows from its number. Updates have versions of their own and come in no order, many
of them more than once, so the expected result does not depend on which producer was faster.
"""

import asyncio
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import NamedTuple

from orderworks.core.errors import Unavailable
from producer import AsyncProducer, OrderUpdate, Producer

ONE_BY_ONE = 500
"""Updates that a producer sends one by one, before it sends the others at once."""

VERSIONS = 20
"""Of each order: with five updates an order, every tenth is a double."""


class Share(NamedTuple):
    """The updates that one of several producers sends: `size` updates of the orders 1 to `orders`."""

    number: int
    size: int
    orders: int

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Order and version of each update."""
        dice = random.Random(self.number)
        for _update in range(self.size):
            yield dice.randrange(self.orders) + 1, dice.randrange(VERSIONS) + 1

    def updates(self) -> Iterator[OrderUpdate]:
        """The updates themselves."""
        for order_id, version in self.pairs():
            total, status = expected_values(order_id, version)
            yield OrderUpdate(order_id=order_id, total=total, status=status, version=version)


def expected_values(order_id: int, version: int) -> tuple[Decimal, str]:
    """Total and status that an order has at a version, the same from every producer."""
    return Decimal(order_id * 31 + version * 17) / 100, f"step {version}"


def send(share: Share) -> None:
    """Hand a share over as an app of threads does."""
    updates = share.updates()
    with Producer.from_settings() as producer:
        for _update in range(ONE_BY_ONE):
            producer.update(next(updates))
        assert producer.update_many(updates, wait_for_room=60) == share.size - ONE_BY_ONE


async def send_async(share: Share) -> None:
    """Hand a share over as an asynchronous app does."""
    updates = share.updates()
    async with AsyncProducer.from_settings() as producer:
        await asyncio.gather(*(_update(producer, next(updates)) for _number in range(ONE_BY_ONE)))
        sent = await producer.update_many(updates, wait_for_room=60)
        assert sent == share.size - ONE_BY_ONE


async def _update(producer: AsyncProducer, update: OrderUpdate) -> None:
    """Send an update, again if a busy machine takes too long to connect: then it was not accepted."""
    while True:
        with suppress(Unavailable):
            await producer.update(update)
            return


if __name__ == "__main__":
    mine = Share(*map(int, sys.argv[2:]))
    if sys.argv[1] == "sync":
        send(mine)
    else:
        asyncio.run(send_async(mine))
