"""Lines of a batch: other requests are served between two groups of them, also of invalid ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orderworks_app.gateway.http.problems import Problem
from orderworks_app.gateway.transfers import ndjson
from orderworks_app.gateway.transfers.ndjson import GROUP_LINES, SLICE_BYTES, UpdateBatch

GOOD = b'{"order_id":1,"status":"paid"}\n'


async def piece(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in one piece."""
    yield body


class TurnCounter:
    """Counts the turns of the event loop while a batch is read.

    Attributes:
        most: the most lines that the batch advanced between two turns.
    """

    def __init__(self, batch: UpdateBatch) -> None:
        self.turns = self.most = 0
        self._batch = batch

    async def count(self) -> None:
        """Count without end."""
        while True:
            before = self._batch.last
            await asyncio.sleep(0)
            self.turns += 1
            self.most = max(self.most, self._batch.last - before)


def read(body: bytes) -> tuple[UpdateBatch, TurnCounter]:
    """Read a batch to its end, or until it stops; return it with the turns of the loop meanwhile."""

    async def run() -> tuple[UpdateBatch, TurnCounter]:
        batch = UpdateBatch(piece(body), 1 << 20)
        counter = TurnCounter(batch)
        counting = asyncio.create_task(counter.count())
        try:
            async for _update in batch.updates():
                pass
        except Problem:
            pass
        counting.cancel()
        return batch, counter

    return asyncio.run(run())


@pytest.mark.parametrize("line", [GOOD, b"{}\n", b"1\n", b"[[[[\n", b'{"order_id":1,"total":5}\n'])
def test_no_more_than_a_group_of_lines_is_decoded_between_two_turns_of_the_loop(
    line: bytes,
) -> None:
    batch, counter = read(line * 9000)
    assert batch.lines == 9000
    assert 0 < counter.most <= GROUP_LINES
    assert counter.turns >= 9000 // GROUP_LINES


@pytest.mark.parametrize("blank", [b"\n", b" \n", b"\r\n"])
def test_no_more_than_a_slice_of_blank_lines_is_read_between_two_turns_of_the_loop(
    blank: bytes,
) -> None:
    body = blank * 500_000
    batch, counter = read(body)
    assert (batch.lines, batch.rejected_count) == (0, 0)
    assert counter.turns >= len(body) // SLICE_BYTES


def test_batch_is_read_no_further_after_its_last_reject() -> None:
    batch, _counter = read(b"{}\n" * (ndjson.MAX_REJECTS + 5000))
    assert batch.last == batch.rejected_count == ndjson.MAX_REJECTS


def test_byte_order_mark_before_a_line_is_skipped() -> None:
    mark, line = b"\xef\xbb\xbf", b'{"order_id":1,"total":"2.00"}\n'
    batch, _counter = read(mark + line + b"\n" + mark + line + mark + b"\n")
    assert (batch.lines, batch.rejected_count) == (2, 0)
