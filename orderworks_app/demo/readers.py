"""Readers that go on while updates are applied, through the cache, as a shop's pages do."""

import random
import threading
from types import TracebackType
from typing import Self

from orderworks.reads import CustomerReads


class Readers:
    """Reads summaries of customers from a thread until the block ends.

    Attributes:
        done: how many reads were made.
        seen: the customers that were read, whose reads are cached unless something changed.
    """

    def __init__(self, reads: CustomerReads, customer_ids: list[int]) -> None:
        self.done = 0
        self.seen: set[int] = set()
        self._reads = reads
        self._customer_ids = customer_ids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-readers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        dice = random.Random(1)  # noqa: S311 - the same demo every time
        while not self._stop.is_set():
            customer_id = dice.choice(self._customer_ids)
            self._reads.customer_summary(customer_id)
            self.seen.add(customer_id)
            self.done += 1
