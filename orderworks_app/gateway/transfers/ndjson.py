"""Updates as NDJSON, parsed line by line while the body is received; every line is counted.

Memory does not depend on the size of the body: it holds a piece of it, a line, and the updates of the
chunk that is being sent. Other requests are served between two groups of lines, also of invalid ones.
"""

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence

import msgspec

from orderworks.core.errors import InvalidUpdate
from orderworks.updates.messages import OrderUpdate, decode_updates
from orderworks_app.gateway.http.problems import Problem, ProblemKind
from orderworks_app.gateway.transfers.changes import decode_line
from producer.updates.append import DURABLE_CHUNK_SIZE

MAX_REJECTS = 10_000
"""Rejected lines after which a batch stops: each costs more time than ten good ones."""

MAX_LISTED_REJECTS = 100
"""Rejected lines that a response lists with their errors."""

MAX_DETAIL = 200
"""Characters of such an error: it may quote a name of any length."""

SLICE_BYTES = 16 << 10
"""Bytes of a body that are split into lines at once."""

GROUP_LINES = 200
"""Lines that are decoded at once: that takes less than 1 ms, or about 5 ms if all are invalid."""

NumberedLine = tuple[int, bytes]
"""A line that is not blank, and its number."""

ParsedLine = OrderUpdate | InvalidUpdate
"""The update of a line, or why it is invalid."""


class Reject(msgspec.Struct, frozen=True):
    """A line that is not a valid update."""

    line: int
    field: str
    detail: str


class UpdateBatch:
    """The updates of a body.

    Attributes:
        last: the number of the last line that was read.
        lines: the number of lines that were read; blank ones do not count.
        rejected: the first `MAX_LISTED_REJECTS` invalid lines.
        rejected_count: the number of all invalid lines.
    """

    def __init__(self, body: AsyncIterable[bytes], max_line_bytes: int) -> None:
        """`max_line_bytes` is the limit of a line's length."""
        self.last = self.lines = self.rejected_count = 0
        self.rejected: list[Reject] = []
        self._body, self._max_line_bytes = body, max_line_bytes
        # The last chunk may fail, and has no more updates than these.
        self._recent: deque[tuple[int, OrderUpdate]] = deque(maxlen=DURABLE_CHUNK_SIZE)

    async def updates(self) -> AsyncIterator[OrderUpdate]:
        """Yield the updates; invalid lines are counted and listed.

        Raises:
            Problem: `MAX_REJECTS` lines are invalid.
        """
        async for lines in group_lines(self._body, self._max_line_bytes):
            parsed = parse_lines([line for _number, line in lines], self._max_line_bytes)
            for (self.last, _line), update in zip(lines, parsed, strict=True):
                self.lines += 1
                if isinstance(update, OrderUpdate):
                    self._recent.append((self.last, update))
                    yield update
                else:
                    self._reject(update)

    def lines_of(self, updates: Collection[object]) -> list[int]:
        """Return the line numbers of these updates, which are of the last chunk."""
        ids = set(map(id, updates))
        return [number for number, update in self._recent if id(update) in ids]

    def _reject(self, line: InvalidUpdate) -> None:
        """Count the last line, which is invalid."""
        self.rejected_count += 1
        if len(self.rejected) < MAX_LISTED_REJECTS:
            self.rejected.append(Reject(self.last, line.field, line.problem[:MAX_DETAIL]))
        if self.rejected_count == MAX_REJECTS:
            raise Problem(
                ProblemKind.TOO_MANY_REJECTS,
                f"{MAX_REJECTS:,} lines were rejected, so the batch stopped after line {self.last}: "
                "correct them, and continue with line `next_line`",
            )


async def group_lines(
    body: AsyncIterable[bytes], max_line_bytes: int
) -> AsyncIterator[Sequence[NumberedLine]]:
    """Yield the lines of a body that are not blank, at most `GROUP_LINES` at once.

    A byte order mark at the start of a line is left out: it is of a file that was sent unchanged. After
    each group, and after each slice of the body, other requests are served.
    """
    last = 0
    async for lines in split_lines(body, max_line_bytes):
        numbered = [
            (number, line)
            for number, line in enumerate(map(without_mark, lines), last + 1)
            if line and not line.isspace()
        ]
        last += len(lines)
        for start in range(0, max(1, len(numbered)), GROUP_LINES):
            yield numbered[start : start + GROUP_LINES]
            await asyncio.sleep(0)


def without_mark(line: bytes) -> bytes:
    """Return the line without a byte order mark at its start."""
    return line.removeprefix(codecs.BOM_UTF8)


async def split_lines(
    body: AsyncIterable[bytes], max_line_bytes: int
) -> AsyncIterator[list[bytes]]:
    """Yield the lines of a body: those that each slice of it completes.

    A line of more than `max_line_bytes` is cut to a beginning that is still longer than that.
    """
    rest = bytearray()
    async for part in sliced(body):
        rest += part
        if b"\n" in part:
            *lines, tail = bytes(rest).split(b"\n")
            yield lines
            rest = bytearray(tail)
        del rest[max_line_bytes + 1 :]
    if rest:
        yield [bytes(rest)]


async def sliced(body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the body in slices of at most `SLICE_BYTES`."""
    async for piece in body:
        for start in range(0, len(piece), SLICE_BYTES):
            yield piece[start : start + SLICE_BYTES]


def parse_lines(lines: Sequence[bytes], max_line_bytes: int) -> Sequence[ParsedLine]:
    """Decode each line."""
    documents = [line if len(line) <= max_line_bytes else b"" for line in lines]
    decoded = decode_updates(documents, decode_line)
    if max(map(len, lines), default=0) <= max_line_bytes:
        return decoded
    too_long = InvalidUpdate("update", f"the line is longer than {max_line_bytes:,} bytes")
    return [
        too_long if len(line) > max_line_bytes else each
        for line, each in zip(lines, decoded, strict=True)
    ]
