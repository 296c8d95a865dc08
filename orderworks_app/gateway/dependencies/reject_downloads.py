"""Rejected rows as a file that is sent page by page: between two pages it holds no connection.

So a client may read as slowly as it likes, and as many of them as there are.
"""

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import sqlalchemy as sa
from fastapi.responses import StreamingResponse

from orderworks.imports.file_format import Layout
from orderworks.imports.rejects import Reject, as_csv
from orderworks_app.gateway.resources import State

PAGE = 1000
"""Rejects that are read and sent together."""

Read = Callable[[sa.Connection, str, int, int], Sequence[Reject]]
"""Gives the rejects of an import after a line, at most so many."""

Write = Callable[[Sequence[Reject], bool], bytes]
"""The text of some rejects; the first ones of a file come with what that begins with."""


def download(
    state: State, import_id: str, read: Read, write: Write, media_type: str, name: str
) -> StreamingResponse:
    """The rejects of an import as an attachment of this name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(
        _pieces(state, import_id, read, write), headers=headers, media_type=media_type
    )


def csv_of(layout: Layout) -> Write:
    """Writes the file in which a person can mend them."""

    def write(rejects: Sequence[Reject], first: bool) -> bytes:  # noqa: FBT001 - as `Write` says
        lines = as_csv(rejects, layout)
        header = next(lines)
        return "".join([header if first else "", *lines]).encode()

    return write


def json_lines(rejects: Sequence[Reject], _first: bool) -> bytes:  # noqa: FBT001 - as `Write` says
    """An object a line."""
    return b"".join(msgspec.json.encode(each._asdict()) + b"\n" for each in rejects)


async def _pieces(state: State, import_id: str, read: Read, write: Write) -> AsyncIterator[bytes]:
    after, first = 0, True

    def piece() -> tuple[bytes, Sequence[Reject]]:
        with state.engine.connect() as connection:
            rejects = read(connection, import_id, after, PAGE)
        return write(rejects, first), rejects

    while True:
        text, rejects = await state.in_thread(piece)
        yield text
        if len(rejects) < PAGE:
            return
        after, first = rejects[-1].line, False
