"""Updates as NDJSON, read line by line while they come, with an account of every line.

Memory is bounded whatever the body is: by a piece of it, a line, and the updates of the chunk that is
on its way.
"""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from typing import NamedTuple

import msgspec

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate, decode_updates
from producer.updates.append import DURABLE_CHUNK_SIZE

MAX_LISTED_REJECTS = 100
"""Lines that an answer names with what is wrong with them."""

ParsedLine = OrderUpdate | InvalidUpdate | None
"""What a line says, or why it is no update; None if it is blank."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is no update."""

    line: int
    field: str
    detail: str


class LineBlock(NamedTuple):
    """Lines that came together: the number of the first one, and what they say."""

    first: int
    lines: Sequence[ParsedLine]


class UpdateBatch:
    """The updates of a body.

    Attributes:
        last: the number of the last line that was taken.
        rejected: the first of the lines that are no updates.
        rejected_count: how many are none.
    """

    def __init__(self, body: AsyncIterable[bytes], max_line_bytes: int) -> None:
        """`longest` is the number of bytes that a line may have."""
        self.last = self.rejected_count = 0
        self.rejected: list[Reject] = []
        self._body, self._longest = body, max_line_bytes
        self._blank = 0
        self._recent: deque[LineBlock] = deque()
        self._held = 0

    @property
    def lines(self) -> int:
        """How many lines were taken; blank ones do not count."""
        return self.last - self._blank

    async def updates(self) -> AsyncIterator[OrderUpdate]:
        """The updates; lines that are none are put down."""
        async for lines in split_lines(self._body, self._longest):
            block = LineBlock(self.last + 1, parse_lines(lines, self._longest))
            self._remember(block)
            for self.last, line in enumerate(block.lines, block.first):
                if isinstance(line, OrderUpdate):
                    yield line
                else:
                    self._reject(line)

    def lines_of(self, updates: Collection[object]) -> list[int]:
        """The numbers of the lines that these updates of the last chunk came in."""
        wanted = set(map(id, updates))
        return [
            number
            for block in self._recent
            for number, line in enumerate(block.lines, block.first)
            if id(line) in wanted
        ]

    def _remember(self, block: LineBlock) -> None:
        """Keep the block for as long as its updates can be part of a chunk."""
        self._recent.append(block)
        self._held += len(block.lines)
        while self._held - len(self._recent[0].lines) >= DURABLE_CHUNK_SIZE:
            self._held -= len(self._recent.popleft().lines)

    def _reject(self, line: InvalidUpdate | None) -> None:
        """Put down the last line, which is no update."""
        if line is None:
            self._blank += 1
            return
        self.rejected_count += 1
        if len(self.rejected) < MAX_LISTED_REJECTS:
            self.rejected.append(Reject(self.last, line.field, line.problem))


async def split_lines(
    body: AsyncIterable[bytes], max_line_bytes: int
) -> AsyncIterator[list[bytes]]:
    """The lines of a body, as many at a time as a piece of it ends.

    Of a line that is longer than `longest` bytes there is the beginning, which is longer too.
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
    """What each line says."""
    said = decode_updates([line if len(line) <= max_line_bytes else b"" for line in lines])
    if not any(isinstance(each, InvalidUpdate) for each in said):
        return said
    too_long = InvalidUpdate("update", f"the line is longer than {max_line_bytes:,} bytes")
    return [
        too_long if len(line) > max_line_bytes else each if line.strip() else None
        for line, each in zip(lines, said, strict=True)
    ]
