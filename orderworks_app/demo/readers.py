"""Cached reads in a thread while updates are applied, as the pages of a shop make them."""

import random
import threading
from types import TracebackType
from typing import Self

from orderworks.reads import CustomerReads


class Readers:
    """Reads summaries of customers from a thread until the block ends.

    Attributes:
        done: number of reads.
        seen: the customers that were read; their reads are cached unless they changed since.
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
        dice = random.Random(1)  # noqa: S311 - repeatable, not secret
        while not self._stop.is_set():
            customer_id = dice.choice(self._customer_ids)
            self._reads.customer_summary(customer_id)
            self.seen.add(customer_id)
            self.done += 1
