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
from producer.updates.append import DURABLE_CHUNK

LISTED = 100
"""Lines that an answer names with what is wrong with them."""

Line = OrderUpdate | InvalidUpdate | None
"""What a line says, or why it is no update; None if it is blank."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is no update."""

    line: int
    field: str
    detail: str


class Block(NamedTuple):
    """Lines that came together: the number of the first one, and what they say."""

    first: int
    lines: Sequence[Line]


class Batch:
    """The updates of a body.

    Attributes:
        last: the number of the last line that was taken.
        rejected: the first of the lines that are no updates.
        rejected_count: how many are none.
    """

    def __init__(self, body: AsyncIterable[bytes], longest: int) -> None:
        """`longest` is the number of bytes that a line may have."""
        self.last = self.rejected_count = 0
        self.rejected: list[Reject] = []
        self._body, self._longest = body, longest
        self._blank = 0
        self._recent: deque[Block] = deque()
        self._held = 0

    @property
    def lines(self) -> int:
        """How many lines were taken; blank ones do not count."""
        return self.last - self._blank

    async def updates(self) -> AsyncIterator[OrderUpdate]:
        """The updates; lines that are none are put down."""
        async for lines in split(self._body, self._longest):
            block = Block(self.last + 1, read(lines, self._longest))
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

    def _remember(self, block: Block) -> None:
        """Keep the block for as long as its updates can be part of a chunk."""
        self._recent.append(block)
        self._held += len(block.lines)
        while self._held - len(self._recent[0].lines) >= DURABLE_CHUNK:
            self._held -= len(self._recent.popleft().lines)

    def _reject(self, line: InvalidUpdate | None) -> None:
        """Put down the last line, which is no update."""
        if line is None:
            self._blank += 1
            return
        self.rejected_count += 1
        if len(self.rejected) < LISTED:
            self.rejected.append(Reject(self.last, line.field, line.problem))


async def split(body: AsyncIterable[bytes], longest: int) -> AsyncIterator[list[bytes]]:
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
        del rest[longest + 1 :]
    if rest:
        yield [bytes(rest)]


def read(lines: Sequence[bytes], longest: int) -> Sequence[Line]:
    """What each line says."""
    said = decode_updates([line if len(line) <= longest else b"" for line in lines])
    if not any(isinstance(each, InvalidUpdate) for each in said):
        return said
    too_long = InvalidUpdate("update", f"the line is longer than {longest:,} bytes")
    return [
        too_long if len(line) > longest else each if line.strip() else None
        for line, each in zip(lines, said, strict=True)
    ]
