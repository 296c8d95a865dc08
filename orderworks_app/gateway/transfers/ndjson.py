"""Updates as NDJSON, parsed line by line while the body is received; every line is counted.

Memory does not depend on the size of the body: it holds a piece of it, a line, and the updates of the
chunk that is being sent.
"""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from typing import NamedTuple

import msgspec

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate, decode_updates
from producer.updates.append import DURABLE_CHUNK_SIZE

MAX_LISTED_REJECTS = 100
"""Rejected lines that a response lists with their errors."""

ParsedLine = OrderUpdate | InvalidUpdate | None
"""The update of a line, or why it is invalid; None if the line is blank."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is not a valid update."""

    line: int
    field: str
    detail: str


class LineBlock(NamedTuple):
    """Lines that were received together, and the number of the first one."""

    first: int
    lines: Sequence[ParsedLine]


class UpdateBatch:
    """The updates of a body.

    Attributes:
        last: the number of the last line that was read.
        rejected: the first `MAX_LISTED_REJECTS` invalid lines.
        rejected_count: the number of all invalid lines.
    """

    def __init__(self, body: AsyncIterable[bytes], max_line_bytes: int) -> None:
        """`max_line_bytes` is the limit of a line's length."""
        self.last = self.rejected_count = 0
        self.rejected: list[Reject] = []
        self._body, self._max_line_bytes = body, max_line_bytes
        self._blank = 0
        self._recent: deque[LineBlock] = deque()
        self._recent_lines = 0

    @property
    def lines(self) -> int:
        """The number of lines that were read; blank ones do not count."""
        return self.last - self._blank

    async def updates(self) -> AsyncIterator[OrderUpdate]:
        """Yield the updates; invalid lines are counted and listed."""
        async for lines in split_lines(self._body, self._max_line_bytes):
            block = LineBlock(self.last + 1, parse_lines(lines, self._max_line_bytes))
            self._keep(block)
            for self.last, line in enumerate(block.lines, block.first):
                if isinstance(line, OrderUpdate):
                    yield line
                else:
                    self._reject(line)

    def lines_of(self, updates: Collection[object]) -> list[int]:
        """Return the line numbers of these updates, which are of the last chunk."""
        ids = set(map(id, updates))
        return [
            number
            for block in self._recent
            for number, line in enumerate(block.lines, block.first)
            if id(line) in ids
        ]

    def _keep(self, block: LineBlock) -> None:
        """Keep the block as long as its updates can be part of the last chunk."""
        self._recent.append(block)
        self._recent_lines += len(block.lines)
        while self._recent_lines - len(self._recent[0].lines) >= DURABLE_CHUNK_SIZE:
            self._recent_lines -= len(self._recent.popleft().lines)

    def _reject(self, line: InvalidUpdate | None) -> None:
        """Count the last line, which is blank or invalid."""
        if line is None:
            self._blank += 1
            return
        self.rejected_count += 1
        if len(self.rejected) < MAX_LISTED_REJECTS:
            self.rejected.append(Reject(self.last, line.field, line.problem))


async def split_lines(
    body: AsyncIterable[bytes], max_line_bytes: int
) -> AsyncIterator[list[bytes]]:
    """Yield the lines of a body: those that each piece of it completes.

    A line of more than `max_line_bytes` is cut to a beginning that is still longer than that.
    """
    rest = bytearray()
    async for piece in body:
        rest += piece
        if b"\n" in piece:
            *lines, tail = bytes(rest).split(b"\n")
            yield lines
            rest = bytearray(tail)
        del rest[max_line_bytes + 1 :]
    if rest:
        yield [bytes(rest)]


def parse_lines(lines: Sequence[bytes], max_line_bytes: int) -> Sequence[ParsedLine]:
    """Decode each line."""
    decoded = decode_updates([line if len(line) <= max_line_bytes else b"" for line in lines])
    if not any(isinstance(each, InvalidUpdate) for each in decoded):
        return decoded
    too_long = InvalidUpdate("update", f"the line is longer than {max_line_bytes:,} bytes")
    return [
        too_long if len(line) > max_line_bytes else each if line.strip() else None
        for line, each in zip(lines, decoded, strict=True)
    ]
