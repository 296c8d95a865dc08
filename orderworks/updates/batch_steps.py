"""The transactions of a drain: what each does and for how long, and the error that rolls it back."""

from typing import NamedTuple

import sqlalchemy as sa

from orderworks.core.database import error_summary
from orderworks.core.errors import OrderworksError
from orderworks.core.locks import Bounds
from orderworks.updates.apply import ApplyBatch

AT_ONCE = Bounds(lock_wait=200, run_time=10_000)
"""The bounds of a batch's first attempt. Transactions that change some rows are over in less than
200 ms; after that the batch is rolled back, and the second attempt waits for no row."""

CAREFULLY = Bounds(lock_wait=200, run_time=2_000)
"""The bounds of the second attempt, in which failing updates are found: each piece that has one takes
this time."""


class Step(NamedTuple):
    """The work of one transaction.

    Attributes:
        entry: the parked update that is tried alone; None for a batch of the source.
    """

    apply: ApplyBatch
    bounds: Bounds
    entry: int | None = None


class BatchFailed(OrderworksError):
    """An error occurred that one update of the batch may have caused; the batch is rolled back."""

    def __init__(self, error: sa.exc.DBAPIError) -> None:
        super().__init__(str(error))
        lost = "the server ended the session: " if error.connection_invalidated else ""
        self.reason = lost + error_summary(error)
