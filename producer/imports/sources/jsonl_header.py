"""The header of JSON Lines: the keys of their first records."""

import codecs
import re
from collections.abc import Iterable, Iterator

import msgspec

from orderworks.core.errors import InvalidFile
from producer.imports.sources.csv_header import SourceHeader
from producer.imports.sources.text_stream import first_blocks

HEADER_SCAN_BYTES = 256 << 10
"""Bytes of the first records, whose keys are the header; a longer first record is read whole."""

_ARRAY = re.compile(rb"\[\s*\{")

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_jsonl_header(name: str, blocks: Iterator[bytes]) -> tuple[SourceHeader, list[bytes]]:
    """Return the header of JSON Lines, and the blocks that were read for it.

    Lines that cannot be decoded are skipped: a worker rejects them.

    Raises:
        InvalidFile: none of the lines read is a JSON object, or they are parts of an array.
    """
    read_ahead = first_blocks(blocks, HEADER_SCAN_BYTES)
    while b"\n" not in read_ahead[-1] and (block := next(blocks, None)):
        read_ahead.append(block)
    start = b"".join(read_ahead)
    bom = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    text = start[bom:].lstrip()
    # The last object of an array that spans lines could be taken for a record.
    if _ARRAY.match(text):
        raise InvalidFile(
            f"{name}: is a JSON array; write its objects one per line, without the array"
        )
    header = _keys(text.split(b"\n"))
    if not header:
        raise InvalidFile(
            f"{name}: none of its first lines is a JSON object with keys; write one object per line"
        )
    return SourceHeader("", header, bom, 1), read_ahead


def _keys(lines: Iterable[bytes]) -> tuple[str, ...]:
    """Return all keys of the records, in order of first appearance."""
    keys: dict[str, None] = {}
    for line in lines:
        keys.update(dict.fromkeys(_keys_of(line)))
    return tuple(keys)


def _keys_of(line: bytes) -> Iterable[str]:
    try:
        return _OBJECT.decode(line.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
