"""Updates as NDJSON, read line by line while they come, with an account of every line.

Memory is bounded whatever the body is: by a piece of it, a line, and the updates of the chunk that is
on its way.
"""

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Collection

import msgspec

from orders.errors import InvalidUpdate
from orders.messages import OrderUpdate, decode_updates
from producer.appends import DURABLE_CHUNK

LISTED = 100
"""Lines that an answer names with what is wrong with them."""

Block = list[tuple[int, OrderUpdate | InvalidUpdate]]
"""Lines by number with what they say."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is no update."""

    line: int
    field: str
    detail: str


class Batch:
    """The updates of a body.

    Attributes:
        lines: how many were taken; blank ones do not count.
        last: the number of the last line that was taken, blank ones included.
        rejected: the first of those that are no updates.
        rejected_count: how many are none.
    """

    def __init__(self, body: AsyncIterable[bytes], longest: int) -> None:
        """`longest` is the number of bytes that a line may have."""
        self.lines = self.last = self.rejected_count = 0
        self.rejected: list[Reject] = []
        self._body, self._longest = body, longest
        self._recent: deque[Block] = deque()
        self._held = 0

    async def updates(self) -> AsyncIterator[OrderUpdate]:
        """The updates; lines that are none are put down."""
        async for lines in split(self._body, self._longest):
            for number, update in self._remembered(read(lines, self._longest)):
                self.lines += 1
                self.last = number
                if isinstance(update, InvalidUpdate):
                    self._reject(number, update)
                else:
                    yield update

    def lines_of(self, updates: Collection[object]) -> list[int]:
        """The numbers of the lines that these updates of the last chunk came in."""
        wanted = set(map(id, updates))
        return [line for block in self._recent for line, update in block if id(update) in wanted]

    def _remembered(self, block: Block) -> Block:
        """The block, which is kept for as long as its updates can be part of a chunk."""
        self._recent.append(block)
        self._held += len(block)
        while self._held - len(self._recent[0]) >= DURABLE_CHUNK:
            self._held -= len(self._recent.popleft())
        return block

    def _reject(self, line: int, problem: InvalidUpdate) -> None:
        self.rejected_count += 1
        if len(self.rejected) < LISTED:
            self.rejected.append(Reject(line, problem.field, problem.problem))


Lines = list[tuple[int, bytes]]
"""Lines by number."""


async def split(body: AsyncIterable[bytes], longest: int) -> AsyncIterator[Lines]:
    """The lines of a body, as many at a time as a piece of it ends.

    Of a line that is longer than `longest` bytes there is the beginning, which is longer too.
    """
    rest, number = bytearray(), 1
    async for piece in body:
        rest += piece
        if b"\n" in piece:
            *lines, tail = bytes(rest).split(b"\n")
            yield list(enumerate(lines, number))
            number += len(lines)
            rest = bytearray(tail)
        del rest[longest + 1 :]
    if rest:
        yield [(number, bytes(rest))]


def read(lines: Lines, longest: int) -> Block:
    """What the lines say, or why they say nothing; blank ones are left out."""
    said = [(number, line) for number, line in lines if line.strip()]
    whole = iter(decode_updates([line for _number, line in said if len(line) <= longest]))
    too_long = InvalidUpdate("update", f"the line is longer than {longest:,} bytes")
    return [(number, next(whole) if len(line) <= longest else too_long) for number, line in said]
