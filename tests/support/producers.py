"""The two producers through one door, so that a test can hold both to the same claim."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from typing import Any, Self, TypeVar

from producer import AsyncProducer, OrderUpdate, Producer, Verdict

T = TypeVar("T")


class SyncProducerClient:
    """`Producer`, made for each call sequence."""

    def __init__(self) -> None:
        self._producer = Producer.from_settings()

    def update(self, update: OrderUpdate, **wanted: Any) -> str:  # noqa: ANN401 - any options of `update`
        """Its `update`."""
        return str(self._producer.update(update, **wanted))

    def update_many(self, updates: Iterable[OrderUpdate], **wanted: Any) -> int:  # noqa: ANN401
        """Its `update_many`."""
        return self._producer.update_many(updates, **wanted)

    def verdict(self, update: OrderUpdate, timeout: float) -> tuple[Verdict, str]:
        """The verdict of a tracked update, and the reason."""
        receipt = self._producer.update(update, track=True)
        return receipt.wait(timeout), receipt.reason

    def close(self) -> None:
        """Its `close`."""
        self._producer.close()

    def closing(self) -> closing[Self]:
        """For a `with` block that closes it."""
        return closing(self)


class AsyncProducerClient:
    """`AsyncProducer` in an event loop of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._producer = AsyncProducer.from_settings()

    def update(self, update: OrderUpdate, **wanted: Any) -> str:  # noqa: ANN401 - any options of `update`
        """Its `update`."""
        return str(self._run(lambda: self._producer.update(update, **wanted)))

    def update_many(self, updates: Iterable[OrderUpdate], **wanted: Any) -> int:  # noqa: ANN401
        """Its `update_many`."""
        return self._run(lambda: self._producer.update_many(updates, **wanted))

    def verdict(self, update: OrderUpdate, timeout: float) -> tuple[Verdict, str]:
        """The verdict of a tracked update, and the reason."""

        async def wait() -> tuple[Verdict, str]:
            receipt = await self._producer.update(update, track=True)
            return await receipt.wait(timeout), receipt.reason

        return self._run(wait)

    def close(self) -> None:
        """Its `close`."""
        self._run(self._producer.close)
        self._runner.close()

    def closing(self) -> closing[Self]:
        """For a `with` block that closes it."""
        return closing(self)

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await call()

        return self._runner.run(run())


ProducerClient = SyncProducerClient | AsyncProducerClient
DOORS: dict[str, type[ProducerClient]] = {
    "Producer": SyncProducerClient,
    "AsyncProducer": AsyncProducerClient,
}
