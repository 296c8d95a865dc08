"""A stream of text: its encoding, its size and the length of its lines are checked while it is read."""

import codecs
import re
from collections.abc import Iterable, Iterator

from orderworks.core.errors import InvalidFile
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from producer.imports.sources.files import BLOCK, CountedFile
from producer.imports.sources.limits import SourceLimits, check_text_bytes

OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32; convert it to UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32; convert it to UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16; convert it to UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16; convert it to UTF-8",
    b"PK\x03\x04": "a zip archive or a spreadsheet; save it as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save it as CSV",
    b"\xfd7zXZ\x00": "compressed by xz; decompress it, or compress it by gzip or zstd",
    b"BZh91AY&SY": "compressed by bzip2; decompress it, or compress it by gzip or zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it",
    b"%PDF-": "a PDF document; export the table as CSV",
}
"""First bytes of files that are no text of UTF-8. UTF-32 precedes UTF-16, whose mark it begins with."""

_HTML = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)

LONE_CRS = "; its lines may end in a lone CR: they must end in LF or CR LF"


def reject_other_encodings(name: str, start: bytes) -> None:
    """Raise InvalidFile if a file with these first bytes is certainly no table in UTF-8."""
    for mark, description in OTHER_ENCODINGS.items():
        if start.startswith(mark):
            raise InvalidFile(f"{name}: is {description}")
    if _HTML.match(start.removeprefix(codecs.BOM_UTF8)):
        raise InvalidFile(
            f"{name}: is a page of HTML, such as a login or an error; download it again"
        )


def bounded(
    name: str, blocks: Iterable[bytes], counted: CountedFile | None, limits: SourceLimits
) -> Iterator[bytes]:
    """Yield the same bytes in blocks of at most `BLOCK`, and check their number against the limits.

    `counted` is the file that they come from, if any.

    Raises:
        InvalidFile: there are more than a limit allows.
    """
    count = 0
    for block in blocks:
        for start in range(0, len(block), BLOCK):
            part = block[start : start + BLOCK]
            count += len(part)
            check_text_bytes(name, count, counted.count if counted else None, limits)
            yield part


def checked_lines(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same blocks, and check the length of their lines.

    Raises:
        InvalidFile: a line is longer than the longest record, or there is no block.
    """
    line, open_line, empty = 1, 0, True
    for block in blocks:
        first_end = block.find(b"\n")
        open_line += len(block) if first_end < 0 else first_end
        if open_line > MAX_RECORD_BYTES:
            hint = LONE_CRS if block.count(b"\r") > 1 else ""
            raise InvalidFile(f"{name}: line {line} is longer than {MAX_RECORD_BYTES} bytes{hint}")
        if first_end >= 0:
            open_line = len(block) - block.rfind(b"\n") - 1
        line += block.count(b"\n")
        empty = False
        yield block
    if empty:
        raise InvalidFile(f"{name}: is empty")


def first_blocks(blocks: Iterator[bytes], size: int) -> list[bytes]:
    """Return the first blocks, up to the one with which they reach that size together."""
    first: list[bytes] = []
    length = 0
    while length < size and (block := next(blocks, None)):
        first.append(block)
        length += len(block)
    return first
