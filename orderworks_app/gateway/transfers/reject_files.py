"""Rejected rows as a file that is sent page by page. No connection is held between two pages.

So clients may read slowly, and any number of them at once.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from orderworks.imports.file_format import FileFormat
from orderworks.imports.rejects import RejectedRow, as_csv

PAGE_ROWS = 1000
"""Rejects that are read and sent together."""

ReadPage = Callable[[int, int], Sequence[RejectedRow]]
"""Returns the rejects after a line of the file, at most the second number of them. It blocks."""

EncodePage = Callable[[Sequence[RejectedRow], bool], bytes]
"""Encodes rejects. True for the first page of a file, which has the header."""

Page = tuple[bytes, Sequence[RejectedRow]]

InThread = Callable[[Callable[[int, bool], Page], int, bool], Awaitable[Page]]
"""Calls the function, with the two arguments, in a thread."""


def csv_encoder(layout: FileFormat) -> EncodePage:
    """Return the encoder of the CSV file in which rejects are corrected."""

    def encode(rejects: Sequence[RejectedRow], first: bool) -> bytes:  # noqa: FBT001 - as `EncodePage`
        lines = as_csv(rejects, layout)
        header = next(lines)
        return "".join([header if first else "", *lines]).encode()

    return encode


def json_lines(rejects: Sequence[RejectedRow], _first: bool) -> bytes:  # noqa: FBT001 - as `EncodePage`
    """Encode one JSON object per line."""
    return b"".join(msgspec.json.encode(each._asdict()) + b"\n" for each in rejects)


async def reject_file(
    in_thread: InThread, read_page: ReadPage, encode_page: EncodePage
) -> AsyncIterator[bytes]:
    """Yield the file, a page at a time; each is read and encoded in a thread."""

    def load(after: int, first: bool) -> Page:  # noqa: FBT001 - as `EncodePage`
        rejects = read_page(after, PAGE_ROWS)
        return encode_page(rejects, first), rejects

    after, first = 0, True
    while True:
        text, rejects = await in_thread(load, after, first)
        yield text
        if len(rejects) < PAGE_ROWS:
            return
        after, first = rejects[-1].line, False
