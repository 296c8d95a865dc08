"""Rejected rows as a file that is sent page by page: between two pages it holds no connection.

So a client may read as slowly as it likes, and as many of them as there are.
"""

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
import sqlalchemy as sa
from fastapi.responses import StreamingResponse

from orderworks.imports.file_format import FileFormat
from orderworks.imports.rejects import RejectedRow, as_csv
from orderworks_app.gateway.resources import GatewayResources

PAGE_ROWS = 1000
"""Rejects that are read and sent together."""

ReadPage = Callable[[sa.Connection, str, int, int], Sequence[RejectedRow]]
"""Gives the rejects of an import after a line, at most so many."""

EncodePage = Callable[[Sequence[RejectedRow], bool], bytes]
"""The text of some rejects; the first ones of a file come with what that begins with."""


def download(
    resources: GatewayResources,
    import_id: str,
    read_page: ReadPage,
    encode_page: EncodePage,
    media_type: str,
    name: str,
) -> StreamingResponse:
    """The rejects of an import as an attachment of this name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(
        _stream_pages(resources, import_id, read_page, encode_page),
        headers=headers,
        media_type=media_type,
    )


def csv_encoder(layout: FileFormat) -> EncodePage:
    """Writes the file in which a person can mend them."""

    def write(rejects: Sequence[RejectedRow], first: bool) -> bytes:  # noqa: FBT001 - as `Write` says
        lines = as_csv(rejects, layout)
        header = next(lines)
        return "".join([header if first else "", *lines]).encode()

    return write


def json_lines(rejects: Sequence[RejectedRow], _first: bool) -> bytes:  # noqa: FBT001 - as `Write` says
    """An object a line."""
    return b"".join(msgspec.json.encode(each._asdict()) + b"\n" for each in rejects)


async def _stream_pages(
    resources: GatewayResources, import_id: str, read_page: ReadPage, encode_page: EncodePage
) -> AsyncIterator[bytes]:
    after, first = 0, True

    def piece() -> tuple[bytes, Sequence[RejectedRow]]:
        with resources.engine.connect() as connection:
            rejects = read_page(connection, import_id, after, PAGE_ROWS)
        return encode_page(rejects, first), rejects

    while True:
        text, rejects = await resources.in_thread(piece)
        yield text
        if len(rejects) < PAGE_ROWS:
            return
        after, first = rejects[-1].line, False
